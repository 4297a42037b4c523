"""Messages between the processes of a server; `frames` serializes them. A closed stream means that the peer has exited.

scheduler -> worker     Work
worker -> scheduler     Ready once, then Vectors or Failed for each Work; or Broken, after which the worker exits
frontend -> scheduler   Serving once, then Submit, Cancel, Check, Charge, Scrape; Samples for each Collect
scheduler -> frontend   StateChange, RequestRows, Granted or Fault per request, Collect, Scraped for each Scrape, Stop
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from embedding_runtime.protocol.requests import Lane, Output, Principal, RateLimit
from embedding_runtime.protocol.rows import Rows
from embedding_runtime.protocol.token_batch import TokenBatch

__all__ = [
    "VLLM_FAILED",
    "Broken",
    "Cancel",
    "Charge",
    "Check",
    "Collect",
    "Failed",
    "Fault",
    "Granted",
    "LoadedModel",
    "Message",
    "Ready",
    "RequestRows",
    "Samples",
    "Scrape",
    "Scraped",
    "Serving",
    "StateChange",
    "Stop",
    "Submit",
    "Vectors",
    "Work",
]


VLLM_FAILED = "vllm failed"
"""Start of the reason if vllm raised an unexpected exception, which follows."""


@dataclass(frozen=True, eq=False)
class Work:
    """A batch to compute. Exclusive batches are computed in order, concurrent ones two at a time."""

    batch: int
    texts: TokenBatch
    exclusive: bool = True
    """Whether the batch uses all cores of the worker, or half of them concurrently with another batch."""
    output: Output = Output.PER_TEXT


@dataclass(frozen=True)
class LoadedModel:
    """Properties of the loaded model that frontends need."""

    backend: str
    """Backend that computes the vectors."""
    reason: str
    """Why this backend."""
    tokenizer: str | None = None
    """Path of the tokenizer.json to use instead of the model's own; None: the model's own."""

    @property
    def public_reason(self) -> str:
        """The reason for clients without an API key: it quotes no exception."""
        return f"{VLLM_FAILED}; see the server's log" if self.reason.startswith(VLLM_FAILED) else self.reason


@dataclass(frozen=True)
class Ready:
    """The worker has loaded the model, passed its self test and warmed up."""

    detail: str
    """Description of the backend, for the log."""
    concurrent: bool
    """Whether it can compute two batches at once, each on half of its cores."""
    batch_tokens: int
    """Token budget of a batch with several texts."""
    tokens_per_second: float | None = None
    """Speed of a full batch in the warm-up."""
    cosine: float | None = None
    """Lowest cosine similarity to float32 measured at startup; None: not measured."""
    model: LoadedModel | None = None


@dataclass(frozen=True, eq=False)
class Vectors:
    """The result of the Work with the same number: one row per text, in order."""

    batch: int
    rows: Rows
    padding: int = 0
    """Padding tokens that were computed in addition to the texts' tokens."""


@dataclass(frozen=True)
class Failed:
    """The Work with the same number failed because of one of its texts; the worker continues."""

    batch: int


@dataclass(frozen=True)
class Broken:
    """The worker cannot start or continue, with the reason."""

    message: str


@dataclass(frozen=True)
class Serving:
    """The frontend accepts connections."""


@dataclass(frozen=True, eq=False)
class Submit:
    """A request for rows. `seconds`: time left until its deadline."""

    request: int
    texts: TokenBatch
    principal: Principal
    lane: Lane
    seconds: float
    output: Output = Output.PER_TEXT


@dataclass(frozen=True)
class Check:
    """Ask whether a request of this many texts and tokens, or more, would be admitted now."""

    request: int
    texts: int
    tokens: int
    principal: Principal
    lane: Lane | None
    seconds: float


@dataclass(frozen=True)
class Charge:
    """Charge tokens that need no worker to a principal's budget, or only check that it has them."""

    request: int
    principal: Principal
    tokens: int
    only_checks: bool


@dataclass(frozen=True)
class Cancel:
    """The client of a Submit has disconnected, or its deadline has passed."""

    request: int


@dataclass(frozen=True)
class Granted:
    """The Check or Charge with the same number succeeded."""

    request: int
    rate_limit: RateLimit | None


@dataclass(frozen=True, eq=False)
class RequestRows:
    """The result of the Submit with the same number: one row per text."""

    request: int
    rows: Rows
    queue_seconds: float
    rate_limit: RateLimit | None


@dataclass(frozen=True)
class Fault:
    """A Submit, Check or Charge failed: class, message and attributes of the RuntimeFault."""

    request: int
    name: str
    message: str
    attributes: Mapping[str, Any]
    rate_limit: RateLimit | None


@dataclass(frozen=True)
class StateChange:
    """The scheduler's State, by name, and its reason."""

    state: str
    reason: str
    cosine: float | None
    """See Ready."""
    model: LoadedModel | None = None


@dataclass(frozen=True)
class Collect:
    """Ask a frontend for its own metrics."""


@dataclass(frozen=True)
class Samples:
    """The answer to a Collect, in the format of `observability.gather`."""

    families: str


@dataclass(frozen=True)
class Scrape:
    """Ask for the metrics of the whole server."""

    request: int


@dataclass(frozen=True)
class Scraped:
    """The answer to the Scrape with the same number: the metrics of each process, in that format."""

    request: int
    parts: Sequence[str]


@dataclass(frozen=True)
class Stop:
    """Stop accepting, finish running requests and exit; `now`: exit immediately."""

    now: bool


Message = (
    Work | Ready | Vectors | Failed | Broken
    | Serving | Submit | Check | Charge | Cancel | RequestRows | Granted | Fault
    | StateChange | Collect | Samples | Scrape | Scraped | Stop
)  # fmt: skip
