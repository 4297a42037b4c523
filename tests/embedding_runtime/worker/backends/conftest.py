"""A process of vLLM for all tests; prints the correctness matrix, the comparison with sentence-transformers, at the
end of the run.
"""

from collections.abc import Callable, Iterator

import pytest

from support.asking import AskedBackend

Compared = Callable[[str, str, str, str, float], None]

MATES = ("alone", "together", "shuffled")

DISTANCE = "distance from sentence-transformers"


@pytest.fixture(scope="session")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AskedBackend]:
    """Its imports take longer than a model. One that it has refused leaves parts of itself behind, which do no harm to
    the models of these tests.
    """
    with AskedBackend("vllm", tmp_path_factory.mktemp("vllm") / "log") as vllm:
        yield vllm


@pytest.fixture
def compared(record_property: Callable[[str, object], None]) -> Compared:
    """Notes how far a model's rows were off: model, backend, file format, batch mates, distance."""

    def note(model: str, backend: str, file_format: str, mates: str, off: float) -> None:
        # A property reaches the summary from every process, if it is plain.
        record_property(DISTANCE, (model, backend, file_format, mates, float(off)))

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [each for kind in ("passed", "failed") for each in terminalreporter.getreports(kind)]
    noted = [
        value for each in reports if each.when == "call" for name, value in each.user_properties if name == DISTANCE
    ]
    table: dict[tuple[str, str, str], dict[str, float]] = {}
    for model, backend, file_format, mates, off in noted:
        table.setdefault((model, backend, file_format), {})[mates] = abs(off)
    if not table:
        return
    terminalreporter.section("largest distance from sentence-transformers: 1 - cosine; of scores, the difference")
    width = max(len(model) for model, *_ in table)
    terminalreporter.line(f"{'':{width}}  {'backend':11}  {'files':5}" + "".join(f"{mates:>10}" for mates in MATES))
    for (model, backend, file_format), cells in sorted(table.items()):
        shown = (f"{cells[mates]:10.0e}" if mates in cells else " " * 10 for mates in MATES)
        terminalreporter.line(f"{model:{width}}  {backend:11}  {file_format:5}{''.join(shown)}")
