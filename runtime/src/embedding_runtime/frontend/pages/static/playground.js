// The playground: embeds texts with this server's API, and computes the drawings here. It loads nothing else.

const MOST = 100; // texts; a larger heat map is not readable
const NUMBERS_UP_TO = 14; // texts; with more, cells are too small for numbers

const $ = (id) => document.getElementById(id);
let model = null;

// --- numbers -------------------------------------------------------------------------------------------------------

const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);

function unit(vector) {
  const length = Math.sqrt(dot(vector, vector)) || 1;
  return vector.map((x) => x / length);
}

// The strongest eigenvalue and vector of a symmetric matrix without negative ones, by power iteration.
function strongest(matrix) {
  let vector = unit(matrix.map((_, i) => 1 + ((i * 7919) % 13) / 13)); // any that is orthogonal to none of them
  for (let round = 0; round < 500; round++) {
    const next = unit(matrix.map((row) => dot(row, vector)));
    const moved = Math.hypot(...next.map((x, i) => x - vector[i]));
    vector = next;
    if (moved < 1e-9) break;
  }
  return { vector, value: dot(vector, matrix.map((row) => dot(row, vector))) };
}

// The two directions in which the points differ most: coordinates, and the share of the variance that they keep.
// It needs products of points only (n x n), however many dimensions they have.
export function project(points) {
  const n = points.length;
  const mean = points[0].map((_, k) => points.reduce((sum, point) => sum + point[k], 0) / n);
  const centred = points.map((point) => point.map((x, k) => x - mean[k]));
  let gram = centred.map((a) => centred.map((b) => dot(a, b)));
  const all = gram.reduce((sum, row, i) => sum + row[i], 0);
  let kept = 0;
  const axes = [0, 1].map(() => {
    const { vector, value } = strongest(gram);
    gram = gram.map((row, i) => row.map((x, j) => x - value * vector[i] * vector[j]));
    kept += value;
    return vector.map((x) => x * Math.sqrt(Math.max(value, 0)));
  });
  return { at: points.map((_, i) => [axes[0][i], axes[1][i]]), kept: all > 1e-12 ? kept / all : 1 };
}

// --- requests --------------------------------------------------------------------------------------------------------

async function ask(path, body) {
  const headers = { "Content-Type": "application/json" };
  if ($("key").value) headers.Authorization = `Bearer ${$("key").value.trim()}`;
  let answer;
  try {
    answer = await fetch(path, body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers });
  } catch {
    throw new Error("The server does not respond. Is it still running?");
  }
  const said = await answer.json().catch(() => null);
  if (answer.ok && said) return said;
  if (answer.status === 401) {
    $("key-field").hidden = false;
    $("key").focus();
  }
  throw new Error(said?.error?.message ?? `The server responded ${answer.status} ${answer.statusText}`);
}

async function showModel() {
  try {
    model = (await ask("v1/models")).data[0];
  } catch (error) {
    $("model").textContent = "";
    return fail(error);
  }
  fail(null);
  $("model").textContent = model.id;
  const facts = {
    dimensions: model.dimensions,
    "max. tokens": model.max_length,
    pooling: model.pooling,
    normalized: model.normalized ? "yes" : "no",
    dtype: model.dtype,
    backend: model.backend,
  };
  const known = Object.entries(facts).filter(([, value]) => value !== undefined && value !== null);
  $("facts").replaceChildren(...known.map(([name, value]) => element("li", {}, `${name} `, element("b", {}, value))));
  showCurl();
}

async function compare(event) {
  event?.preventDefault();
  const texts = given();
  if (!texts.length) return fail(new Error("Enter at least one text."));
  if (texts.length > MOST) return fail(new Error(`${texts.length} texts are too many to draw; the maximum is ${MOST}.`));
  $("compare").disabled = true;
  try {
    if (!model) await showModel();
    if (!model) return;
    const begin = performance.now();
    const answer = await ask("v1/embeddings", { model: model.id, input: texts });
    const took = performance.now() - begin;
    fail(null);
    show(texts, answer, took);
  } catch (error) {
    fail(error);
  } finally {
    $("compare").disabled = false;
  }
}

const given = () => $("texts").value.split("\n").map((line) => line.trim()).filter(Boolean);

// --- display -------------------------------------------------------------------------------------------------------

function fail(error) {
  $("error").hidden = !error;
  $("error").textContent = error?.message ?? "";
  if (error) $("status").textContent = "";
}

function show(texts, answer, took) {
  const vectors = answer.data.map((item) => item.embedding);
  const count = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
  $("status").textContent = [
    count(texts.length, "text"),
    count(answer.usage.prompt_tokens, "token"),
    count(vectors[0].length, "dimension"),
    `${took.toFixed(0)} ms`,
  ].join(" · ");
  const several = texts.length > 1;
  $("similarity").hidden = $("projection").hidden = !several;
  if (!several) return;
  const points = vectors.map(unit);
  const cosines = points.map((a) => points.map((b) => dot(a, b)));
  drawHeat(texts, cosines);
  drawPlot(texts, project(points));
  point(null);
}

function drawHeat(texts, cosines) {
  const low = Math.min(...cosines.flat());
  const heat = (cosine) => (low < 1 - 1e-6 ? Math.min(1, (cosine - low) / (1 - low)) : 1);
  $("low").textContent = low.toFixed(2);
  $("high").textContent = "1.00";
  const head = element("tr", { role: "row" }, element("td", { role: "presentation", className: "corner" }));
  head.append(...texts.map((text, j) => element("th", { scope: "col", title: text }, j + 1)));
  const rows = texts.map((text, i) => {
    const name = element("th", { scope: "row", title: text }, element("b", {}, i + 1), ` ${text}`);
    const cells = cosines[i].map((cosine, j) => {
      const cell = element("td", { role: "gridcell", tabIndex: i || j ? -1 : 0 }, cosine.toFixed(2).replace("-0.00", "0.00"));
      cell.style.setProperty("--heat", heat(cosine));
      cell.classList.toggle("hot", heat(cosine) > 0.7);
      cell.dataset.pair = `${i} ${j}`;
      return cell;
    });
    return element("tr", { role: "row" }, name, ...cells);
  });
  $("heat").classList.toggle("small", texts.length > NUMBERS_UP_TO);
  $("heat").replaceChildren(element("thead", {}, head), element("tbody", {}, ...rows));
  $("heat").texts = texts;
}

const [WIDTH, HEIGHT, EDGE, LETTER, LINE] = [760, 400, 28, 6.4, 19]; // of the drawing; the last two of its labels

function drawPlot(texts, { at, kept }) {
  const reach = Math.max(...at.flat().map(Math.abs)) || 1;
  const scale = (HEIGHT / 2 - EDGE) / reach; // a square in the middle: labels go outwards from it
  const places = at.map(([x, y]) => [WIDTH / 2 + x * scale, HEIGHT / 2 - y * scale]);
  const axes = [
    drawn("line", { x1: EDGE, x2: WIDTH - EDGE, y1: HEIGHT / 2, y2: HEIGHT / 2 }),
    drawn("line", { y1: EDGE, y2: HEIGHT - EDGE, x1: WIDTH / 2, x2: WIDTH / 2 }),
  ];
  const heights = labelHeights(places);
  const dots = texts.map((text, i) => {
    const [x, y] = places[i];
    const right = x >= WIDTH / 2;
    const room = (right ? WIDTH - x : x) - 40;
    const at = { x: right ? x + 12 : x - 12, y: heights[i] + 4.5, "text-anchor": right ? "start" : "end" };
    const words = texts.length > NUMBERS_UP_TO ? "" : ` ${shortened(text, Math.floor(room / LETTER))}`;
    const label = drawn("text", at, drawn("tspan", { class: "number" }, i + 1), words);
    return drawn("g", {}, drawn("title", {}, text), drawn("circle", { cx: x, cy: y, r: 6 }), label);
  });
  $("plot").replaceChildren(...axes, drawn("line", { class: "link" }), ...dots);
  $("plot").places = places;
  $("kept").textContent = `two principal components: ${(100 * kept).toFixed(0)}% of the variance`;
}

// Beside its dot, unless the label of another one on that side is there: then below that.
function labelHeights(places) {
  const heights = places.map(([, y]) => y);
  for (const side of [true, false]) {
    let last = -Infinity;
    const order = places.map((_, i) => i).filter((i) => places[i][0] >= WIDTH / 2 === side);
    for (const i of order.sort((a, b) => places[a][1] - places[b][1])) {
      last = heights[i] = Math.max(heights[i], last + LINE);
    }
  }
  return heights;
}

// Highlights a pair of texts in both drawings, and describes it; null: none.
function point(cell) {
  const texts = $("heat").texts;
  for (const marked of document.querySelectorAll(".on")) marked.classList.remove("on");
  const link = document.querySelector("#plot .link");
  for (const name of ["x1", "x2", "y1", "y2"]) link.removeAttribute(name);
  if (!cell) {
    $("pair").textContent = "Point at a cell, or move through them with the arrow keys.";
    return;
  }
  const [i, j] = cell.dataset.pair.split(" ").map(Number);
  cell.classList.add("on");
  const dots = document.querySelectorAll("#plot g");
  dots[i].classList.add("on");
  dots[j].classList.add("on");
  const [[x1, y1], [x2, y2]] = [$("plot").places[i], $("plot").places[j]];
  for (const [name, value] of Object.entries({ x1, y1, x2, y2 })) link.setAttribute(name, value);
  const quoted = (k) => `${k + 1} “${shortened(texts[k], 60)}”`;
  $("pair").replaceChildren(element("b", {}, cell.textContent), ` cosine of ${quoted(i)} and ${quoted(j)}`);
}

function move(event) {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  const from = event.target.dataset?.pair;
  if (!step || !from) return;
  event.preventDefault();
  const [i, j] = from.split(" ").map(Number);
  const to = $("heat").querySelector(`[data-pair="${i + step[0]} ${j + step[1]}"]`);
  if (!to) return;
  event.target.tabIndex = -1;
  to.tabIndex = 0;
  to.focus();
}

function showCurl() {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const lines = [
    `curl ${new URL("v1/embeddings", location.href)}`,
    "-H 'Content-Type: application/json'",
    ...($("key-field").hidden ? [] : ['-H "Authorization: Bearer $API_KEY"']),
    `-d ${quoted(JSON.stringify({ model: model?.id ?? "MODEL", input: given() }, null, 2))}`,
  ];
  $("curl").textContent = lines.join(" \\\n  ");
}

async function copy() {
  const text = $("curl").textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Pages over plain HTTP have no clipboard but this.
    getSelection().selectAllChildren($("curl"));
    document.execCommand("copy");
  }
  $("copy").textContent = "Copied";
  setTimeout(() => ($("copy").textContent = "Copy"), 1500);
}

const shortened = (text, most) => (text.length > most ? `${text.slice(0, most - 1).trimEnd()}…` : text);

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  if (properties.role) made.setAttribute("role", properties.role);
  made.append(...children);
  return made;
}

function drawn(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// --- events -----------------------------------------------------------------------------------------------------

$("form").addEventListener("submit", compare);
$("texts").addEventListener("input", showCurl);
$("texts").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) compare(event);
});
$("key").addEventListener("change", async () => {
  await showModel();
  showCurl();
});
$("copy").addEventListener("click", copy);
for (const kind of ["mouseover", "focusin"]) {
  $("heat").addEventListener(kind, (event) => event.target.dataset?.pair && point(event.target));
}
$("heat").addEventListener("mouseleave", () => point(null));
$("heat").addEventListener("keydown", move);
showCurl();
showModel();
