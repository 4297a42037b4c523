"""Prints the correctness matrix, the comparison with sentence-transformers, at the end of the run."""

from collections.abc import Callable

import pytest

Compared = Callable[[str, str, str, str, float], None]

MATES = ("alone", "together", "shuffled")

DISTANCES = pytest.StashKey[dict[tuple[str, str, str], dict[str, float]]]()


@pytest.fixture
def compared(request: pytest.FixtureRequest) -> Compared:
    """Notes how far a model's rows were off: model, backend, file format, batch mates, distance."""
    table = request.config.stash.setdefault(DISTANCES, {})

    def note(model: str, backend: str, file_format: str, mates: str, off: float) -> None:
        table.setdefault((model, backend, file_format), {})[mates] = abs(off)

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    table = config.stash.get(DISTANCES, {})
    if not table:
        return
    terminalreporter.section("largest distance from sentence-transformers: 1 - cosine; of scores, the difference")
    width = max(len(model) for model, *_ in table)
    terminalreporter.line(f"{'':{width}}  {'backend':11}  {'files':5}" + "".join(f"{mates:>10}" for mates in MATES))
    for (model, backend, file_format), cells in sorted(table.items()):
        shown = (f"{cells[mates]:10.0e}" if mates in cells else " " * 10 for mates in MATES)
        terminalreporter.line(f"{model:{width}}  {backend:11}  {file_format:5}{''.join(shown)}")
