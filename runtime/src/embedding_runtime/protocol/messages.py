"""Messages between the processes of a server; `frames` has their bytes. The end of a stream: the peer is gone.

scheduler -> worker     Work
worker -> scheduler     Ready once, then Vectors or Failed for each Work; or Broken, and the worker ends
frontend -> scheduler   Serving once, then Submit, Cancel, Check, Charge, Scrape; Samples for each Collect
scheduler -> frontend   StateChange, Rows, Granted or Fault for each request, Collect, Scraped for each Scrape, Stop
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from embedding_runtime.protocol.requests import Lane, Principal, RateLimit
from embedding_runtime.protocol.token_batch import TokenBatch

__all__ = [
    "Broken",
    "Cancel",
    "Charge",
    "Check",
    "Collect",
    "Failed",
    "Fault",
    "Granted",
    "Message",
    "Ready",
    "Rows",
    "Samples",
    "Scrape",
    "Scraped",
    "Serving",
    "StateChange",
    "Stop",
    "Submit",
    "VectorRows",
    "Vectors",
    "Work",
]

VectorRows = npt.NDArray[np.float32]
"""Shape (texts, dimensions); for a cross-encoder (pairs, labels)."""


@dataclass(frozen=True, eq=False)
class Work:
    """One batch. Exclusive ones are computed in the order they come, concurrent ones two at a time."""

    batch: int
    texts: TokenBatch
    exclusive: bool = True
    """It has all cores of the worker, and nothing else is computed; else half of them, beside another batch."""


@dataclass(frozen=True)
class Ready:
    """The worker is loaded and warm, and has passed its self test."""

    detail: str
    """How it computes, for the log."""
    concurrent: bool
    """Whether it computes two batches at once, with half of its cores each."""
    batch_tokens: int
    """How many tokens of several texts a batch should have at most."""
    tokens_per_second: float | None = None
    """How fast a full batch was computed at warm-up."""
    cosine: float | None = None
    """Lowest cosine to float32 that was measured at start; None: there was nothing to measure."""


@dataclass(frozen=True, eq=False)
class Vectors:
    """The answer to the Work of the same number: a row a text, in its order."""

    batch: int
    rows: VectorRows
    padding: int = 0
    """Places that were computed beside the texts' tokens, to make rows of one length."""


@dataclass(frozen=True)
class Failed:
    """The other answer to a Work: some text in it cannot be computed; the worker goes on."""

    batch: int


@dataclass(frozen=True)
class Broken:
    """The worker cannot serve, or cannot go on: the reason."""

    message: str


@dataclass(frozen=True)
class Serving:
    """The frontend takes connections."""


@dataclass(frozen=True, eq=False)
class Submit:
    """A request for rows. `seconds`: how long the client waits, at most."""

    request: int
    texts: TokenBatch
    principal: Principal
    lane: Lane
    seconds: float


@dataclass(frozen=True)
class Check:
    """Asks whether so many texts and tokens, or more, would be taken now."""

    request: int
    texts: int
    tokens: int
    principal: Principal
    lane: Lane | None
    seconds: float


@dataclass(frozen=True)
class Charge:
    """Takes tokens that are not computed from a principal's budget, or asks whether it has so many."""

    request: int
    principal: Principal
    tokens: int
    only_checks: bool


@dataclass(frozen=True)
class Cancel:
    """The client of a Submit is gone, or out of time."""

    request: int


@dataclass(frozen=True)
class Granted:
    """The answer to a Check or a Charge."""

    request: int
    rate_limit: RateLimit | None


@dataclass(frozen=True, eq=False)
class Rows:
    """The answer to the Submit of the same number: a row a text."""

    request: int
    rows: VectorRows
    queue_seconds: float
    rate_limit: RateLimit | None


@dataclass(frozen=True)
class Fault:
    """The other answer to a Submit, Check or Charge: the class of a RuntimeFault, its message, and its attributes."""

    request: int
    name: str
    message: str
    attributes: Mapping[str, Any]
    rate_limit: RateLimit | None


@dataclass(frozen=True)
class StateChange:
    """What the scheduler can do, by the name of its State, and why."""

    state: str
    reason: str
    cosine: float | None
    """As in Ready."""


@dataclass(frozen=True)
class Collect:
    """Asks a frontend for its own samples."""


@dataclass(frozen=True)
class Samples:
    """The answer to a Collect: a process's metrics, as `observability.gather` has them."""

    families: str


@dataclass(frozen=True)
class Scrape:
    """Asks for the metrics of the whole server."""

    request: int


@dataclass(frozen=True)
class Scraped:
    """The answer to the Scrape of the same number: the metrics of each process."""

    request: int
    parts: Sequence[str]


@dataclass(frozen=True)
class Stop:
    """Answer what is under way, take no new connections, and end; `now`: without answers."""

    now: bool


Message = (
    Work | Ready | Vectors | Failed | Broken
    | Serving | Submit | Check | Charge | Cancel | Rows | Granted | Fault
    | StateChange | Collect | Samples | Scrape | Scraped | Stop
)  # fmt: skip
