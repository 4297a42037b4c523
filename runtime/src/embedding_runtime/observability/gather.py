"""Merges the metrics of several processes: counters, histograms and gauges are summed by labels."""

import json
from collections.abc import Iterable, Sequence

from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder

__all__ = ["exposition", "from_json", "merged", "to_json"]

Families = Sequence[Metric]


def merged(parts: Iterable[Iterable[Metric]]) -> Families:
    """Merge metric families. Start times: the earliest; info metrics: those of any part."""
    found: dict[str, Metric] = {}
    samples: dict[tuple[str, tuple[tuple[str, str], ...]], tuple[Metric, str, float]] = {}
    for part in parts:
        for family in part:
            target = found.setdefault(family.name, Metric(family.name, family.documentation, family.type, family.unit))
            for sample in family.samples:
                key = sample.name, tuple(sorted(sample.labels.items()))
                before = samples.get(key)
                value = sample.value if before is None else _together(family, sample.name, before[2], sample.value)
                samples[key] = target, sample.name, value
    for (name, labels), (family, _, value) in samples.items():
        family.add_sample(name, dict(labels), value)
    return list(found.values())


def _together(family: Metric, name: str, one: float, other: float) -> float:
    if name.endswith("_start_time_seconds"):
        return min(one, other)
    return max(one, other) if family.type == "info" else one + other


def to_json(families: Families) -> str:
    """Convert to JSON, for a message to another process."""
    return json.dumps(
        [
            [each.name, each.documentation, each.type, each.unit, [[s.name, s.labels, s.value] for s in each.samples]]
            for each in families
        ]
    )


def from_json(given: str) -> Families:
    """Convert from `to_json`."""
    families = []
    for name, documentation, kind, unit, samples in json.loads(given):
        family = Metric(name, documentation, kind, unit)
        for sample, labels, value in samples:
            family.add_sample(sample, labels, value)
        families.append(family)
    return families


def exposition(families: Families, accept: str) -> tuple[bytes, str]:
    """Serialize as the Accept header requests. Returns the body and its content type."""
    try:
        encode, content_type = choose_encoder(accept)
    except (TypeError, ValueError):  # an invalid header
        encode, content_type = choose_encoder("")
    return encode(_Collected(families)), content_type


class _Collected:
    def __init__(self, families: Families) -> None:
        self._families = families

    def collect(self) -> Families:
        return self._families
