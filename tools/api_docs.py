"""Write docs/api.md, which lists every field of every request, from the routes; `--check` only compares."""

import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fastapi.routing import APIRoute
from pydantic.fields import FieldInfo

from embedding_runtime.frontend.app import create_app
from embedding_runtime.frontend.dialects.base import RequestBody
from embedding_runtime.frontend.dialects.bodies import BodyRoute
from embedding_runtime.frontend.dialects.dialect import Dialect

PAGE = Path(__file__).resolve().parent.parent / "docs" / "api.md"

START = """# Requests, field by field
`make generate` writes this page from the schemas. For responses see `openapi.json`, or `/docs` of a running server.

Each field of these APIs and their clients is in one of three groups:

- **supported** (or **required**): the server does what the field says.
- **ignored**: the field is accepted, because it does not change the response.
- **rejected**: the response is 400 (422 on TEI's paths), and its message says what to use instead.

Any other field is rejected, too. If its name is similar to a valid one, the message names that one. `null` is the same
as an absent field.

**Long inputs.** An input that is too long is rejected, unless the request enables truncation. In Cohere's API and in
`/v1/rerank` it is enabled by default. `--truncate=end` (`spec.model.truncate`) enables it for all requests that do not
say, also for pairs. If inputs were truncated, the header `X-Truncated` of the response has their number. Some APIs also
mark them: `truncated` in an item of OpenAI's embeddings or of vLLM's scores and classes, `meta.warnings` in Cohere's
responses.

**Model names.** You may omit `model`. If you send it, it must be a value of `--model_name`: the first is the name, the
others are aliases. The response has the name that you sent.

**Several outputs.** BGE-M3 has three outputs, which `output` of `/v1/embeddings` selects: `dense` (`embedding`),
`sparse` (`sparse_embedding`: a list of objects with `index`, the token id, and `value`) and `colbert`
(`colbert_embedding`: a vector for each token but the first). They are computed together. `outputs` in `/v1/models` says
which ones a server offers: BGE-M3's layers are pickles, so the server needs `--allow_pickle=true`, and
`--backend=vllm` offers `dense` only.

**Eight-bit types.** Cohere's `int8` is `round(127 * x)` and `uint8` is `round(127 * x) + 128`. Both cover the range
[-1, 1], so they are available for models with vectors of length 1 only.

"""


def main(argv: list[str]) -> int:
    """Exit status: 1 when `--check` finds the page stale."""
    if "--check" not in argv:
        PAGE.write_text(page())
    elif not PAGE.is_file() or page() != PAGE.read_text():
        sys.stderr.write("docs/api.md is stale: run make generate\n")
        return 1
    return 0


def page() -> str:
    """The whole page."""
    # Routes use it when they are called, which does not happen here.
    service: Any = SimpleNamespace(engine=SimpleNamespace(metrics=None, rate_limit=None), limits=None)
    routes = [route for route in create_app(service).routes if isinstance(route, APIRoute)]
    paths: dict[type[RequestBody], dict[str, str]] = {}
    for route in routes:
        dialect = Dialect.of(route)
        if dialect is None or not isinstance(route, BodyRoute):
            continue
        for body in route.bodies if len(route.bodies) == 1 else ():
            paths.setdefault(body, {})[f"`{route.path_format}`"] = dialect.name
    return START + _contents(paths) + "".join(_section(body, found) for body, found in paths.items())


def _contents(paths: Mapping[type[RequestBody], Mapping[str, str]]) -> str:
    rows = "".join(f"| {_apis(found)} | {', '.join(found)} |\n" for found in paths.values())
    return (
        f"| API | `POST` |\n|---|---|\n{rows}"
        "| Text Embeddings Inference | `/`: same as `/embed`, `/embed_sparse` or `/predict`, by the model's kind; with "
        "a `source_sentence`, same as `/similarity` |\n"
        "| SageMaker | `/invocations`: any request above, recognized by its fields |\n"
    )


def _apis(paths: Mapping[str, str]) -> str:
    return ", ".join(dict.fromkeys(paths.values()))


def _section(body: type[RequestBody], paths: Mapping[str, str]) -> str:
    supported = "".join(
        f"| `{name}` | {_support(field)} | {_words(body, name, field.description)} |\n"
        for name, field in body.model_fields.items()
    )
    by_advice: dict[str, list[str]] = {}
    for name, instead in body.refused.items():
        if name not in body.model_fields:
            by_advice.setdefault(instead, []).append(f"`{name}`")
    rejected = "".join(f"| {', '.join(names)} | rejected | {_cell(advice)} |\n" for advice, names in by_advice.items())
    ignored = ", ".join(f"`{name}`" for name in sorted(body.ignored - body.model_fields.keys()))
    head = (
        f"\n## {_apis(paths)}: {', '.join(paths)}\n| field | | description, or what to use instead |\n|---|---|---|\n"
    )
    return f"{head}{supported}{rejected}| {ignored} | ignored | |\n"


def _support(field: FieldInfo) -> str:
    return "required" if field.is_required() else "supported"


def _words(body: type[RequestBody], name: str, description: str | None) -> str:
    """The description of a field, and its values if only some are supported."""
    schema = body.model_json_schema()["properties"][name]
    values = _values(schema)
    nested = (form["description"] for form in schema.get("anyOf", ()) if "description" in form)
    parts = [description or next(nested, ""), f"only {values}" if values else ""]
    return _cell("; ".join(part for part in parts if part))


def _values(schema: dict[str, Any]) -> str:
    """The values of a field that has a fixed set of them, else nothing."""
    forms = schema.get("anyOf", [schema])
    values = [value for form in forms for value in _listed(form)]
    bare = all(form.get("type") == "null" or _listed(form) for form in forms)
    return (
        ", ".join(f"`{str(value).lower() if isinstance(value, bool) else value}`" for value in values) if bare else ""
    )


def _listed(form: dict[str, Any]) -> list[Any]:
    if "const" in form:
        return [form["const"]]
    if "minimum" in form and form["minimum"] == form.get("maximum"):
        return [form["minimum"]]
    return list(form.get("enum", ()))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
