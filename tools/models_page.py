"""Write docs/models.md: look-alikes of popular models on each backend, compared with sentence-transformers.

Takes half an hour, and goes on where an earlier run was stopped. `--check` only compares the page's models with the
table's. `--recorded` writes what a run that was stopped had found. Names of models as
arguments: only those are compared, and the page keeps the others.
"""

import json
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from support.asking import answers
from support.lookalikes.table import LOOKALIKES, Lookalike

PAGE = Path(__file__).resolve().parent.parent / "docs" / "models.md"

RECORDS = PAGE.parent.parent / ".bench" / "models.jsonl"
"""What an earlier run has found, which was stopped before its end."""

BACKENDS = ("huggingface", "vllm")
COLUMNS = (*BACKENDS, "auto")

PER_PROCESS = 12
"""Models: vLLM does not give all of a model's memory back."""

TEXTS = [
    "a",
    "",
    "the quick brown fox",
    "Upper CASE, Ünïcödé, 你好, 🙂",
    "jumps over the lazy dog " * 8,
    *(f"query {n} " * n for n in range(1, 8)),
    "passage: the brown dog " * 20,
]
PAIRS = [
    ("a", "b"),
    ("", "the quick brown fox"),
    ("the quick brown fox", "the lazy dog"),
    ("the lazy dog", "the quick brown fox"),
    ("Upper CASE, Ünïcödé", "你好, 🙂"),
    ("jumps over", "the lazy dog " * 12),
    *(("which query?", f"query {n} " * n) for n in range(1, 6)),
]

MINIMUM_COSINE = 0.9999
SCORES_OFF = 1e-3


@dataclass(frozen=True)
class Verdict:
    """exact, refused or wrong, and the words for it."""

    cell: str
    said: str = ""
    served_by: str = ""


@dataclass(frozen=True)
class Made:
    """A look-alike and what the reference gives for it."""

    row: Lookalike
    directory: Path
    texts: Sequence[Any]
    wanted: Any
    """None: the reference cannot serve it, either."""


def main(argv: list[str]) -> int:
    """Exit status: 1 when `--check` finds other models on the page, or a vector is wrong."""
    names = [row.name for row in LOOKALIKES]
    if "--check" in argv:
        listed = re.findall(r"^\| `([^`]+)`", PAGE.read_text(), re.MULTILINE)
        if listed != names:
            odd = ", ".join(sorted(set(listed) ^ set(names))) or "their order"
            sys.stderr.write(f"docs/models.md does not have the models of the table ({odd}): run make models\n")
            return 1
        return 0
    if "--recorded" in argv:
        found = recorded(RECORDS)
        PAGE.write_text(page({row.name: found.get(key(row), {}) for row in LOOKALIKES}))
        return 0
    if unknown := set(argv) - set(names):
        sys.stderr.write(f"no such models in the table: {', '.join(sorted(unknown))}\n")
        return 2
    rows = [row for row in LOOKALIKES if not argv or row.name in argv]
    verdicts = compared(rows, None if argv else RECORDS)
    if argv:
        for name, found in verdicts.items():
            sys.stdout.write(f"{name}: {json.dumps({each: vars(said) for each, said in found.items()}, indent=2)}\n")
        earlier = on_page(PAGE.read_text())
        PAGE.write_text(page({name: verdicts.get(name) or earlier.get(name, {}) for name in names}))
    else:
        PAGE.write_text(page(verdicts))
        RECORDS.unlink(missing_ok=True)
    wrong = [name for name, found in verdicts.items() if any(each.cell == "wrong" for each in found.values())]
    sys.stderr.write("".join(f"wrong vectors: {name}\n" for name in wrong))
    return 1 if wrong else 0


def compared(rows: Sequence[Lookalike], records: Path | None) -> Mapping[str, Mapping[str, Verdict]]:
    """By model, then by backend. Models of which the table says the same have one look-alike.

    What `records` has is not computed again.
    """
    found = recorded(records)
    todo: dict[str, Lookalike] = {}
    for row in rows:
        if len(found.get(key(row), {})) < len(COLUMNS):
            todo.setdefault(key(row), row)
    left = list(todo.values())
    while left:
        now, left = left[:PER_PROCESS], left[PER_PROCESS:]
        with tempfile.TemporaryDirectory() as scratch:
            made = [made_and_encoded(row, Path(scratch, str(place))) for place, row in enumerate(now)]
            for backend in BACKENDS:
                asked = [each for each in made if backend not in found.get(key(each.row), {})]
                questions = [(each.directory, each.texts) for each in asked]
                heard = answers(backend, questions, Path(scratch, f"{backend}.log"))
                for each, answer in zip(asked, heard, strict=True):
                    record(records, found, each.row, backend, verdict(each, answer))
            for each in made:
                record(records, found, each.row, "auto", automatic(each, found[key(each.row)]))
    return {row.name: found[key(row)] for row in rows}


def key(row: Lookalike) -> str:
    """Of all that its look-alike is made of."""
    return repr(replace(row, name=""))


def recorded(records: Path | None) -> dict[str, dict[str, Verdict]]:
    """By look-alike, then by backend."""
    found: dict[str, dict[str, Verdict]] = {}
    for line in records.read_text().splitlines() if records is not None and records.is_file() else ():
        of, backend, said = json.loads(line)
        found.setdefault(of, {})[backend] = Verdict(**said)
    return found


def record(
    records: Path | None, found: dict[str, dict[str, Verdict]], row: Lookalike, backend: str, said: Verdict
) -> None:
    """Into both."""
    sys.stderr.write(f"{row.name} {backend}: {said.cell}\n")
    found.setdefault(key(row), {})[backend] = said
    if records is not None:
        records.parent.mkdir(exist_ok=True)
        with records.open("a") as lines:
            lines.write(json.dumps([key(row), backend, asdict(said)]) + "\n")


def made_and_encoded(row: Lookalike, directory: Path) -> Made:
    """With the reference's own vectors, each text alone, so that no padding touches it."""
    import numpy as np  # noqa: PLC0415 as all of these: --check needs none of them, and is fast
    from huggingface_hub import constants  # noqa: PLC0415
    from sentence_transformers import CrossEncoder, SentenceTransformer, SparseEncoder  # noqa: PLC0415

    from embedding_runtime.remote_code import CODE_DIR  # noqa: PLC0415
    from support.lookalikes.files import make  # noqa: PLC0415

    make(directory, row)
    kept: list[Any] = []
    if row.code:  # the reference finds it as it finds what it has downloaded
        constants.HF_HUB_CACHE = str(directory / CODE_DIR)
    trust = bool(row.code)
    try:
        if row.labels is not None:
            scorer = CrossEncoder(str(directory), device="cpu", trust_remote_code=trust)
            kept = list(PAIRS)
            wanted = [scorer.predict([pair], show_progress_bar=False) for pair in kept]
        else:
            is_sparse = any("SpladePooling" in kind for _, kind in row.modules)
            library = SparseEncoder if is_sparse else SentenceTransformer
            reference = library(str(directory), device="cpu", trust_remote_code=trust)
            prompt = reference.prompts.get(reference.default_prompt_name)
            kept = [
                text
                for text in TEXTS
                if reference.preprocess([text], prompt=prompt)["input_ids"].numel() < reference.max_seq_length
            ]
            encoded = [reference.encode([text], show_progress_bar=False) for text in kept]
            wanted = [each.to_dense().numpy() if is_sparse else each for each in encoded]
    except Exception as error:  # noqa: BLE001 the reference's libraries raise what they like
        sys.stderr.write(f"{row.name}: no reference: {error!r:.300}\n")
        return Made(row, directory, TEXTS if row.labels is None else PAIRS, None)
    return Made(row, directory, kept, np.concatenate(wanted).reshape(len(kept), -1))


def verdict(made: Made, answer: Mapping[str, Any]) -> Verdict:
    """Of one backend."""
    import numpy as np  # noqa: PLC0415

    if "refused" in answer:
        return Verdict("refused", str(answer["refused"]).replace(str(made.directory), "the model"))
    if made.wanted is None:
        return Verdict("wrong", "served, though the reference does not serve it")
    for mates in ("alone", "together"):
        rows = np.array(answer[mates])
        if rows.shape != made.wanted.shape:
            return Verdict("wrong", f"shape {rows.shape}, not {made.wanted.shape}")
        if made.row.labels is not None:
            off = float(np.abs(rows - made.wanted).max())
            if not off <= SCORES_OFF:
                return Verdict("wrong", f"scores off by {off:.1e} {mates}")
        else:
            norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(made.wanted, axis=1)
            same = (rows == made.wanted).all(axis=1)  # an empty text has zeros in a static model
            cosine = float(
                np.divide((rows * made.wanted).sum(axis=1), norms, out=same.astype(float), where=norms > 0).min()
            )
            if not cosine >= MINIMUM_COSINE:
                return Verdict("wrong", f"cosine {cosine:.5f} {mates}")
    return Verdict("exact")


def automatic(made: Made, found: Mapping[str, Verdict]) -> Verdict:
    """What the server does where no flag names a backend: its own choice, and huggingface after a refusal."""
    from embedding_runtime.contract import ServeArgs  # noqa: PLC0415
    from embedding_runtime.model import ModelRefused, ModelSpec  # noqa: PLC0415
    from embedding_runtime.worker.backends.choice import choose  # noqa: PLC0415

    args = ServeArgs(
        model_name="it",
        model_dir=made.directory,
        trust_remote_code=bool(made.row.code),
        allow_pickle=made.row.token_heads,
    )
    try:
        choice = choose(args, ModelSpec.from_args(args))
    except ModelRefused as refused:
        return Verdict("refused", str(refused).replace(str(made.directory), "the model"))
    served_by = str(choice.backend)
    if choice.falls_back and found[served_by].cell == "refused":
        served_by = "huggingface"
    return replace(found[served_by], served_by=served_by)


_OPEN = Verdict("not compared yet")

START = """# Popular models
Which of the models that are downloaded most this server serves, on each backend. `make models` writes this page: it
builds a look-alike of each model (the architecture, module chain and kind of tokenizer of its repository, in tiny
sizes, with random weights), and compares every vector or score with the one that sentence-transformers computes.

`exact`: cosine 0.9999 or more for texts of several lengths, alone and in a batch; scores within 0.001. `refused`: the
server does not start, and says why: its words are below. The last column is what you get without `--backend`.

`(trusted)`: the model's Python code is in another repository, and runs with `--trust_remote_code=true` only
(`spec.model.trustRemoteCode`). Here other code stands in for it: these rows show that such code is found, run and
compared, not that the code of that repository runs with the installed transformers.

`BAAI/bge-m3` is served with `--allow_pickle=true`, which its sparse and ColBERT vectors need. This page compares its
dense vectors only; the tests compare all three outputs with the formulas of FlagEmbedding.

"""


def page(verdicts: Mapping[str, Mapping[str, Verdict]]) -> str:
    """The whole page."""
    notes: dict[str, int] = {}
    lines = []
    trusted = {row.name for row in LOOKALIKES if row.code}
    for name, found in verdicts.items():
        cells = []
        for backend in COLUMNS:
            said = found.get(backend, _OPEN)
            if said is _OPEN:
                cells.append(said.cell)
            elif said.cell == "exact":
                cells.append("exact" if backend != "auto" else f"exact, by {said.served_by}")
            else:
                number = notes.setdefault(shortened(said.said), len(notes) + 1)
                cells.append(f"{said.cell} [{number}](#refusals)")
        mark = " (trusted)" if name in trusted else ""
        lines.append(f"| `{name}`{mark} | {' | '.join(cells)} |\n")
    counts = [
        ", ".join(
            f"{count} {cell}"
            for cell in ("exact", "refused", "wrong", _OPEN.cell)
            if (count := sum(found.get(backend, _OPEN).cell == cell for found in verdicts.values()))
        )
        for backend in COLUMNS
    ]
    table = "| model | huggingface | vllm | auto |\n|---|---|---|---|\n" + "".join(lines)
    total = f"| {len(verdicts)} models | {' | '.join(counts)} |\n"
    refusals = "".join(f"{number}. {said}\n" for said, number in notes.items())
    return f"{START}{table}{total}\n## Refusals\n{refusals}"


def on_page(text: str) -> dict[str, dict[str, Verdict]]:
    """What a page says, by model, then by backend."""
    notes = dict(re.findall(r"^(\d+)\. (.*)$", text, re.MULTILINE))
    found: dict[str, dict[str, Verdict]] = {}
    for name, *cells in re.findall(r"^\| `([^`]+)`.*? \| (.*) \| (.*) \| (.*) \|$", text, re.MULTILINE):
        for backend, cell in zip(COLUMNS, cells, strict=True):
            said = re.fullmatch(r"(.*?)(?:, by (\w+)| \[(\d+)\]\(#refusals\))?", cell)
            if said is not None and said[1] != _OPEN.cell:
                words = notes.get(said[3] or "", "").replace("&lt;", "<").replace("\\|", "|")
                found.setdefault(name, {})[backend] = Verdict(said[1], words, said[2] or "")
    return found


LONGEST = 320


def shortened(said: str) -> str:
    """The server's words, for a page; those on a page are not shortened again."""
    plain = said.replace("<", "&lt;").replace("|", "\\|")
    return plain if len(plain) <= LONGEST or plain.endswith(" ...") else f"{plain[:LONGEST].rsplit(' ', 1)[0]} ..."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
