"""Write the table of values in the chart's README from the `# --` comments of values.yaml; `--check` only compares."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

CHART = Path(__file__).resolve().parent.parent / "charts" / "embedding-operator"
START, END = "<!-- values -->\n", "<!-- end of values -->\n"


def main(argv: list[str]) -> int:
    """Exit status: 1 when `--check` finds the README stale, or a value without a comment is met."""
    readme, values = CHART / "README.md", (CHART / "values.yaml").read_text()
    before, _, rest = readme.read_text().partition(START)
    after = rest.partition(END)[2]
    rows = "".join(f"| `{path}` | `{default}` | {words} |\n" for path, default, words in described(values))
    wanted = f"{before}{START}| value | default | what it is |\n|---|---|---|\n{rows}{END}{after}"
    if "--check" in argv:
        if wanted != readme.read_text():
            sys.stderr.write("the chart's README is stale: run make generate\n")
            return 1
    else:
        readme.write_text(wanted)
    return 0


def described(text: str) -> Iterator[tuple[str, str, str]]:
    """Path, default as JSON and description of each value that has a `# --` comment, in order."""
    path: list[str] = []
    words: list[str] = []
    for line in text.splitlines():
        if comment := re.fullmatch(r" *# (-- )?(.*)", line):
            words = [comment[2]] if comment[1] else [*words, comment[2]] if words else []
        elif key := re.match(r"( *)([\w./-]+):", line):
            path = [*path[: len(key[1]) // 2], key[2]]
            if words:
                default = yaml.safe_load(text)
                for name in path:
                    default = default[name]
                yield ".".join(path), json.dumps(default), " ".join(words)
            words = []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
