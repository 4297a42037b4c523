"""What can go wrong with a request, and how the answer says it (OpenAI's error envelope).

RuntimeFault
├── BadRequest              400  the message names the field and what is allowed
│   ├── InputTooLong        400  names both lengths
│   ├── MalformedBody       400  the body is no JSON object
│   ├── RequestTooLarge     400  more texts or tokens than one request may have
│   ├── ExceedsKeyLimit     400  more tokens than the API key gets in a minute: no later time helps
│   └── UnsupportedTask     400  the served model is of another kind
├── Unauthorized            401  no API key, or none of this server's
├── UnknownModel            404  names the model that is served
├── BodyTooLate             408  names the seconds it had
├── BodyTooLarge            413  names the bytes that are taken
├── ClientGone              499  nobody reads it
├── Overloaded              429  too much waits already; says when to try again
├── RateLimited             429  the API key's tokens of this minute are spent
├── OneText                 500  for the request that holds the text, never for its batch-mates
│   ├── TextFailed               the backend raised an exception for it
│   └── VectorNotFinite          the model gave NaN or infinity
├── DeadlinePassed          504  names the seconds it had
└── NotServing              503
    ├── NotReady                 the model is still loading: try again
    └── BackendFailed            the worker is gone: this process is about to end
"""

import math
import re
from collections.abc import Mapping
from typing import Any, ClassVar

__all__ = [
    "MAX_RETRY_AFTER",
    "BackendFailed",
    "BadRequest",
    "BodyTooLarge",
    "BodyTooLate",
    "ClientGone",
    "DeadlinePassed",
    "ExceedsKeyLimit",
    "InputTooLong",
    "MalformedBody",
    "NotReady",
    "NotServing",
    "OneText",
    "Overloaded",
    "RateLimited",
    "RequestTooLarge",
    "RuntimeFault",
    "TextFailed",
    "Unauthorized",
    "UnknownModel",
    "UnsupportedTask",
    "VectorNotFinite",
    "restored",
]


MAX_RETRY_AFTER = 30
"""Seconds. OpenAI's clients pass over a Retry-After above 60, and then try again at once."""


class RuntimeFault(Exception):
    """Base of all. The message goes to the client; it quotes no input."""

    status: ClassVar[int]
    type: ClassVar[str]
    code: ClassVar[str | None] = None
    retry_after: int | None = None
    """Seconds, where trying again may help."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param

    @property
    def reason(self) -> str:
        """The class in a word, for metrics: input_too_long."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()


class BadRequest(RuntimeFault):
    """The client has to change something."""

    status = 400
    type = "invalid_request_error"


class InputTooLong(BadRequest):
    """Texts, or pairs, have more tokens than the model takes."""

    code = "context_length_exceeded"

    def __init__(self, lengths: Mapping[int, int], *, limit: int, field: str) -> None:
        """`lengths`: by place in `field`, of those that are too long."""
        named = [f"{field}[{place}] has {length}" for place, length in lengths.items()][:_NAMED]
        more = f", and {len(lengths) - _NAMED} more are too long" if len(lengths) > _NAMED else ""
        named[0] += " tokens"
        super().__init__(f"{', '.join(named)}{more}; the model takes {limit} at most", param=field)


_NAMED = 10
"""Of texts that are too long: enough to find them by."""


class MalformedBody(BadRequest):
    """The body cannot be read as a JSON object."""


class RequestTooLarge(BadRequest):
    """More texts, or tokens, than one request may have."""


class UnsupportedTask(BadRequest):
    """The served model is of another kind: an embedding model scores no pairs, a cross-encoder has no embeddings."""


class Unauthorized(RuntimeFault):
    """Missing or invalid API key."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"

    def __init__(self, *, given: bool) -> None:
        what = "this API key is not one of this server's" if given else "this server wants an API key"
        super().__init__(f"{what}: send the header Authorization: Bearer KEY")


class UnknownModel(RuntimeFault):
    """A model that is not served here."""

    status = 404
    type = "invalid_request_error"
    code = "model_not_found"

    def __init__(self, *, served: str) -> None:
        super().__init__(f"this server has one model, {served!r}: ask for that one", param="model")


class BodyTooLate(RuntimeFault):
    """The body did not come in time."""

    status = 408
    type = "invalid_request_error"

    def __init__(self, *, seconds: float) -> None:
        super().__init__(
            f"the body was not complete after {seconds:.4g} s: send it faster, or fewer texts in a request"
        )


class BodyTooLarge(RuntimeFault):
    """More bytes than are read."""

    status = 413
    type = "invalid_request_error"

    def __init__(self, *, limit: int) -> None:
        super().__init__(
            f"the body is larger than {limit} bytes (--max_body_bytes): send fewer or shorter texts in a request"
        )


class ClientGone(RuntimeFault):
    """The client left before its vectors were there. The number is nginx's."""

    status = 499
    type = "invalid_request_error"

    def __init__(self) -> None:
        super().__init__("the client closed the connection")


class Overloaded(RuntimeFault):
    """The queue is full, or so long that this request would be too late."""

    status = 429
    type = "rate_limit_error"
    code = "overloaded"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(f"{message}: try again in {retry_after} s")
        self.retry_after = retry_after


class RateLimited(RuntimeFault):
    """The API key's tokens per minute do not suffice now; they do in `wait` seconds."""

    status = 429
    type = "tokens"  # OpenAI's word for which of its limits it was
    code = "rate_limit_exceeded"

    def __init__(self, *, tokens: int, per_minute: int, wait: float, at_least: bool = False) -> None:
        """`at_least`: the tokens have not all been counted. It may then take longer."""
        asked = _asked(tokens, per_minute, at_least=at_least)
        super().__init__(f"{asked}: try again in {wait:.3f} s")
        self.retry_after = min(MAX_RETRY_AFTER, math.ceil(wait))


class ExceedsKeyLimit(BadRequest):
    """One request has more tokens than the API key gets in a minute.

    Not 429, as OpenAI has it: no later time helps, and clients try again for a 429, some of them for ever.
    """

    code = "rate_limit_exceeded"

    def __init__(self, *, tokens: int, per_minute: int, at_least: bool = False) -> None:
        asked = _asked(tokens, per_minute, at_least=at_least)
        super().__init__(f"{asked}: send fewer or shorter texts in a request")


def _asked(tokens: int, per_minute: int, *, at_least: bool) -> str:
    least = "at least " if at_least else ""
    return f"{least}{tokens} tokens asked for, with an API key of {per_minute} tokens a minute"


class OneText(RuntimeFault):
    """There is no vector for one text; `index` is its place in the request, in the field of that name."""

    status = 500
    type = "server_error"

    what: ClassVar[str]

    def __init__(self, *, index: int, field: str = "input") -> None:
        super().__init__(f"{self.what} for {field}[{index}]", param=field)
        self.index = index


class TextFailed(OneText):
    """The backend raised an exception."""

    code = "text_failed"
    what = "the backend failed"


class VectorNotFinite(OneText):
    """NaN or infinity."""

    code = "vector_not_finite"
    what = "the model gave a vector with NaN or infinity"


class DeadlinePassed(RuntimeFault):
    """No vectors in the time that the request had."""

    status = 504
    type = "server_error"
    code = "deadline_passed"

    def __init__(self, *, seconds: float) -> None:
        super().__init__(f"no vectors after the {seconds:g} s that this request has (header X-Request-Timeout)")


class NotServing(RuntimeFault):
    """No vectors from this process now."""

    status = 503
    type = "server_error"
    retry_after = 1


class NotReady(NotServing):
    """Not yet."""

    code = "model_not_ready"


class BackendFailed(NotServing):
    """Not any more."""

    code = "backend_failed"


def restored(name: str, message: str, attributes: Mapping[str, Any]) -> RuntimeFault:
    """A fault that another process has raised, from its class's name, its words and its attributes (`vars`)."""
    kinds, found = [RuntimeFault], dict[str, type[RuntimeFault]]()
    while kinds:
        kind = kinds.pop()
        found[kind.__name__] = kind
        kinds += kind.__subclasses__()
    fault = found[name].__new__(found[name])
    RuntimeFault.__init__(fault, message)
    vars(fault).update(attributes)
    return fault
