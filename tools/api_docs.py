"""Write docs/api.md, every field of every request and what becomes of it, from the routes; `--check` only compares."""

import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fastapi.routing import APIRoute

from embedding_runtime.frontend.app import create_app
from embedding_runtime.frontend.dialects.base import RequestBody
from embedding_runtime.frontend.dialects.bodies import BodyRoute
from embedding_runtime.frontend.dialects.dialect import Dialect

PAGE = Path(__file__).resolve().parent.parent / "docs" / "api.md"

START = """# Requests, field by field
`make generate` writes this page from the schemas. For answers see `openapi.json`, or `/docs` of a running server.

Every field that the named APIs and their clients know is **obeyed**, **ignored** because it changes nothing of the
answer, or **refused** with 400 (422 on TEI's paths) and what to use instead. A field that no table has is refused too,
with the nearest name that exists. `null` counts as left out.

An input that is too long is refused, unless the API cuts by default (Cohere's, and rerank), the request asks for a cut,
or the service's owner does: `--truncate=end`, or `spec.model.truncate`, is the default of requests that do not say, of
pairs too. Each answer to a request of which inputs were cut says how many in the header `X-Truncated`, and which ones
where the API has room: `truncated` beside an OpenAI embedding, a vLLM score or class; `meta.warnings` of Cohere's
answers.

`model` may be left out. An answer has the name that was asked for: the first `--model_name`, or another one, which is
an alias.

`int8` and `uint8` of Cohere's embedding types have the fixed range [-1, 1], in which all numbers of a vector of length
1 are: `int8` is `round(127 * x)`, `uint8` is that plus 128. Models whose vectors have any length refuse them.

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
    # Routes look at it when they are called.
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
        "| Text Embeddings Inference | `/`: as `/embed`, of a cross-encoder as `/predict`; with a `source_sentence` as "
        "`/similarity` |\n"
        "| SageMaker | `/invocations`: as the path above that has its fields |\n"
    )


def _apis(paths: Mapping[str, str]) -> str:
    return ", ".join(dict.fromkeys(paths.values()))


def _section(body: type[RequestBody], paths: Mapping[str, str]) -> str:
    obeyed = "".join(
        f"| `{name}` | {'required' if field.is_required() else 'obeyed'} | {_words(body, name, field.description)} |\n"
        for name, field in body.model_fields.items()
    )
    by_advice: dict[str, list[str]] = {}
    for name, instead in body.refused.items():
        if name not in body.model_fields:
            by_advice.setdefault(instead, []).append(f"`{name}`")
    refused = "".join(f"| {', '.join(names)} | refused | {_cell(advice)} |\n" for advice, names in by_advice.items())
    ignored = ", ".join(f"`{name}`" for name in sorted(body.ignored - body.model_fields.keys()))
    head = f"\n## {_apis(paths)}: {', '.join(paths)}\n| field | | values, or what to use instead |\n|---|---|---|\n"
    return f"{head}{obeyed}{refused}| {ignored} | ignored | |\n"


def _words(body: type[RequestBody], name: str, description: str | None) -> str:
    """What the schema says; and what is refused of a field of which only some values are obeyed."""
    schema = body.model_json_schema()["properties"][name]
    values = _values(schema)
    nested = (form["description"] for form in schema.get("anyOf", ()) if "description" in form)
    parts = [description or next(nested, ""), f"only {values}" if values else ""]
    return _cell("; ".join(part for part in parts if part))


def _values(schema: dict[str, Any]) -> str:
    """Where there are few."""
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
