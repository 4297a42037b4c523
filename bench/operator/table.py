"""What one run measured, as Markdown, and its place in docs/scale.md."""

from collections.abc import Iterable, Sequence

from bench.operator.ranges import Ranges, judge
from bench.operator.results import Phase, Run

__all__ = ["BEGIN", "END", "WORDS", "insert", "markdown"]

BEGIN = "<!-- make bench-operator writes from here -->"
END = "<!-- to here -->"

_TITLES = {
    "create": "Created as fast as the API server accepts them",
    "idle": "Idle",
    "restart": "Restart",
    "edit": "Edit of a ClusterStorageContainer that three services in ten use",
    "settings": "The operator restarts with another runtime image",
    "crash": "The operator is killed while 30 services are created",
    "outage": "The API server is not reachable for 60 s while 30 services are created",
}
WORDS = {
    "level_seconds": "all level after, s",
    "rest_seconds": "operator at rest after, s",
    "done_seconds": "all changed after, s",
    "cpu_seconds": "CPU, s",
    "cpu_ms_per_service": "CPU per service, ms",
    "cpu_percent": "CPU, % of one core",
    "cpu_ratio": "CPU per service, relative to the first column",
    "writes_per_service": "writes per service",
    "writes_ratio": "writes per service, relative to the first column",
    "reads_per_service": "reads per service, without watches",
    "sent_kib_per_service": "sent per service, KiB",
    "received_kib_per_service": "received per service, KiB, with watches",
    "received_mib": "received, MiB, with watches",
    "writes": "writes",
    "reads": "reads, without watches",
    "gets": "reads of one object",
    "lists": "lists",
    "concerned": "affected services",
    "most_at_once": "most services in progress at once",
    "deployment_writes_per_concerned": "writes of Deployments per affected service",
    "deployment_writes_per_service": "writes of Deployments per service",
    "exits": "unexpected exits of the operator",
    "waited_seconds": "waited for a core, s",
    "rss_mib": "RSS at the end, MiB",
    "peak_rss_mib": "peak RSS since the operator's start, MiB",
}


def markdown(run: Run, ranges: Ranges) -> str:
    """A table a phase, then the requests."""
    names = dict.fromkeys(phase.name for phase in run.phases)
    verdicts = judge(ranges, run.phases)
    missed = [f"- {each}" for each in verdicts if not each.met]
    verdict = f"{len(verdicts) - len(missed)} of {len(verdicts)} ranges are met." + (" Missed:" if missed else "")
    sections = "\n\n".join(
        f"### {_TITLES[name]}\n{_figures([each for each in run.phases if each.name == name], ranges)}" for name in names
    )
    return f"""\
{run.started}, commit {run.commit}, {run.machine}; idle for {run.idle_minutes:g} minutes. {verdict}
{chr(10).join(("", *missed, "")) if missed else ""}
{sections}

### Requests of the operator
{_requests(run.phases)}
"""


def insert(page: str, generated: str) -> str:
    """The page with the text between its two markers. Raises ValueError when they are not there."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks the markers {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{generated}{END}{after}"


def _figures(phases: Sequence[Phase], ranges: Ranges) -> str:
    """A row a figure, a column a phase: more services, or others' objects beside them."""
    name = phases[0].name
    figures = dict.fromkeys(figure for phase in phases for figure in phase.figures)
    head = ("", "range", *(_column(phase) for phase in phases))
    rows = []
    for figure in figures:
        allowed = ranges.find(name, figure)
        missed = {id(each.phase) for each in judge(ranges, phases) if each.figure == figure and not each.met}
        cells = [
            f"**{text}**" if id(phase) in missed and text else text
            for phase in phases
            for text in (_cell(phase, figure),)
        ]
        rows.append((WORDS.get(figure, figure), str(allowed) if allowed else "", *cells))
    return _table(head, rows)


def _requests(phases: Iterable[Phase]) -> str:
    rows = [
        (
            _TITLES[phase.name],
            _column(phase),
            ", ".join(f"{request} {n:,}" for request, n in sorted(phase.requests.items(), key=lambda each: -each[1])),
            ", ".join(f"{status}: {n:,}" for status, n in phase.failures.items()),
        )
        for phase in phases
    ]
    return _table(("", "services", "requests", "responses of 400 and above"), rows)


def _column(phase: Phase) -> str:
    beside = f" with {phase.foreign:,} objects of others" if phase.foreign else ""
    return f"{phase.services:,}{beside}"


def _cell(phase: Phase, figure: str) -> str:
    if figure not in phase.figures:
        return ""
    value = phase.figures[figure]
    if value is None:
        return "not reached"
    return f"{value:,.0f}" if value == round(value) else f"{value:,.2f}" if value < 10 else f"{value:,.1f}"  # noqa: PLR2004


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))
