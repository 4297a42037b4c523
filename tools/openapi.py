"""Write docs/openapi.json, the runtime's HTTP API, from its routes; `--check` only compares."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from embedding_runtime.frontend.app import create_app

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "openapi.json"


def main(argv: list[str]) -> int:
    """Exit status: 1 when `--check` finds the document stale."""
    # Routes use it when they are called, which does not happen here.
    service: Any = SimpleNamespace(engine=SimpleNamespace(metrics=None, rate_limit=None), limits=None)
    wanted = json.dumps(create_app(service).openapi(), indent=1, ensure_ascii=False) + "\n"
    if "--check" not in argv:
        DOCUMENT.parent.mkdir(exist_ok=True)
        DOCUMENT.write_text(wanted)
    elif not DOCUMENT.is_file() or wanted != DOCUMENT.read_text():
        sys.stderr.write("docs/openapi.json is stale: run make generate\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
