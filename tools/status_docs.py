"""Write docs/status.md from the descriptions of conditions and reasons; `--check` only compares."""

import sys
from pathlib import Path

from embedding_operator.core.reasons import Group, Reason
from embedding_operator.core.records import ConditionType

PAGE = Path(__file__).resolve().parent.parent / "docs" / "status.md"

START = """# The status of an EmbeddingService
`kubectl get embeddingservices` shows the reason of `Ready`; `kubectl describe embeddingservice NAME` shows the message,
which says what happened and what to do. The reasons below are also those of storage containers, ModelCaches and
ClusterModelCaches ([their conditions](model-cache.md)). `make generate` writes this page.

`Ready`, `Reconciling` and `Stalled` follow kstatus of sigs.k8s.io/cli-utils, as Flux and kpt do, and `kubectl wait
--for=condition=Ready` waits for a service. `Reconciling` and `Stalled` are never both `True`. `observedGeneration`, on
the status and on every condition, is the generation of the spec that they are about.

"""

CONDITIONS = """## Conditions
| condition | meaning |
|---|---|
"""

REASONS = """
## Reasons
The kubelet's own reasons, such as `CreateContainerError`, may appear beside these.
"""


def main(argv: list[str]) -> int:
    """Exit status: 1 when `--check` finds the page stale."""
    if "--check" not in argv:
        PAGE.write_text(page())
    elif page() != PAGE.read_text():
        sys.stderr.write("docs/status.md is stale: run make generate\n")
        return 1
    return 0


def page() -> str:
    """The whole page."""
    conditions = "".join(f"| `{each}` | {each.description} |\n" for each in ConditionType)
    groups = "".join(section(group) for group in Group)
    return f"{START}{CONDITIONS}{conditions}{REASONS}{groups}"


def section(group: Group) -> str:
    """The reasons of one group."""
    rows = "".join(f"| `{each}` | {each.description} |\n" for each in Reason if each.group is group)
    return f"\n### {group}\n| reason | what happened |\n|---|---|\n{rows}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
