"""Errors of a request, with their HTTP status and the fields of OpenAI's error envelope.

RuntimeFault
├── BadRequest              400  the message names the field and what is allowed
│   ├── InputTooLong        400  the message has both lengths
│   ├── MalformedBody       400  the body is not a JSON object
│   ├── RequestTooLarge     400  more texts or tokens than one request may have
│   ├── ExceedsKeyLimit     400  more tokens than the API key's limit for a minute: a retry cannot succeed
│   └── UnsupportedTask     400  the served model does not support the task
├── Unauthorized            401  missing or invalid API key
├── UnknownModel            404  the message names the served model
├── BodyTooLate             408  the body did not arrive in time
├── BodyTooLarge            413  the message has the limit
├── ClientGone              499  the client disconnected
├── Overloaded              429  the queue is full, or too long for the deadline; with Retry-After
├── RateLimited             429  the API key's tokens of this minute are used up; with Retry-After
├── OneText                 500  one text of this request failed; other requests of its batch do not
│   ├── TextFailed               the backend raised an exception
│   └── VectorNotFinite          the model returned NaN or infinity
├── DeadlinePassed          504  the message has the timeout
└── NotServing              503
    ├── NotReady                 the model is still loading: retry
    └── BackendFailed            the worker has failed: this process is about to exit
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
    "restore_fault",
]


MAX_RETRY_AFTER = 30
"""Seconds. OpenAI's clients ignore a Retry-After above 60 and retry immediately."""


class RuntimeFault(Exception):
    """Base class. The message is sent to the client; it must not quote the client's texts."""

    status: ClassVar[int]
    type: ClassVar[str]
    code: ClassVar[str | None] = None
    retry_after: int | None = None
    """Seconds until a retry can succeed; None if it cannot."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param

    @property
    def reason(self) -> str:
        """The class name in snake case, for metrics: input_too_long."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()


class BadRequest(RuntimeFault):
    """The request is invalid."""

    status = 400
    type = "invalid_request_error"


class InputTooLong(BadRequest):
    """Texts or pairs have more tokens than the model's maximum."""

    code = "context_length_exceeded"

    def __init__(self, lengths: Mapping[int, int], *, limit: int, field: str) -> None:
        """`lengths`: of the inputs that are too long, by index in `field`."""
        listed = [f"{field}[{index}] has {length}" for index, length in lengths.items()][:_MAX_LISTED]
        more = f", and {len(lengths) - _MAX_LISTED} more are too long" if len(lengths) > _MAX_LISTED else ""
        listed[0] += " tokens"
        remedy = "shorten or split the text" if len(lengths) == 1 else "shorten or split these texts"
        super().__init__(f"{', '.join(listed)}{more}; the model's maximum is {limit}: {remedy}", param=field)


_MAX_LISTED = 10
"""Inputs that one message lists."""


class MalformedBody(BadRequest):
    """The body is not a JSON object."""


class RequestTooLarge(BadRequest):
    """More texts or tokens than one request may have."""


class UnsupportedTask(BadRequest):
    """The served model does not support the task, such as scores from an embedding model."""


class Unauthorized(RuntimeFault):
    """Missing or invalid API key."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"

    def __init__(self, *, given: bool) -> None:
        what = "invalid API key" if given else "missing API key"
        super().__init__(f"{what}: send a valid key in the header Authorization: Bearer KEY")


class UnknownModel(RuntimeFault):
    """The requested model is not the served one."""

    status = 404
    type = "invalid_request_error"
    code = "model_not_found"

    def __init__(self, *, served: str) -> None:
        super().__init__(f"unknown model; the server has one model: use {served!r}", param="model")


class BodyTooLate(RuntimeFault):
    """The body did not arrive in time."""

    status = 408
    type = "invalid_request_error"

    def __init__(self, *, seconds: float) -> None:
        super().__init__(
            f"the body was incomplete after {seconds:.4g} s: send it faster, or send fewer texts in a request"
        )


class BodyTooLarge(RuntimeFault):
    """The body is larger than --max_body_bytes."""

    status = 413
    type = "invalid_request_error"

    def __init__(self, *, limit: int) -> None:
        super().__init__(
            f"the body is larger than {limit} bytes (--max_body_bytes): send fewer or shorter texts in a request"
        )


class ClientGone(RuntimeFault):
    """The client disconnected before the response. The status is nginx's."""

    status = 499
    type = "invalid_request_error"

    def __init__(self) -> None:
        super().__init__("the client closed the connection")


class Overloaded(RuntimeFault):
    """The queue is full, or too long for the deadline of the request."""

    status = 429
    type = "rate_limit_error"
    code = "overloaded"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(f"{message}: retry in {retry_after} s")
        self.retry_after = retry_after


class RateLimited(RuntimeFault):
    """The API key's limit is used up; it suffices again in `wait` seconds."""

    status = 429
    type = "tokens"  # OpenAI's type for a limit on tokens
    code = "rate_limit_exceeded"

    def __init__(self, *, tokens: int, per_minute: int, wait: float, at_least: bool = False) -> None:
        """`at_least`: not all tokens have been counted, and the wait may be longer."""
        asked = _over_limit(tokens, per_minute, at_least=at_least)
        super().__init__(f"{asked}: retry in {wait:.3f} s")
        self.retry_after = min(MAX_RETRY_AFTER, math.ceil(wait))


class ExceedsKeyLimit(BadRequest):
    """One request has more tokens than the API key's limit for a minute.

    OpenAI returns 429 here. A retry cannot succeed, and some clients retry a 429 forever, so this is a 400.
    """

    code = "rate_limit_exceeded"

    def __init__(self, *, tokens: int, per_minute: int, at_least: bool = False) -> None:
        over = _over_limit(tokens, per_minute, at_least=at_least)
        super().__init__(f"{over}: send fewer or shorter texts in a request")


def _over_limit(tokens: int, per_minute: int, *, at_least: bool) -> str:
    least = "at least " if at_least else ""
    return f"the request has {least}{tokens} tokens; the API key's limit is {per_minute} tokens per minute"


class OneText(RuntimeFault):
    """One text has no vector. `index` is its index in `field` of the request."""

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
    """The model returned NaN or infinity."""

    code = "vector_not_finite"
    what = "the model returned NaN or infinity"


class DeadlinePassed(RuntimeFault):
    """The deadline of the request passed."""

    status = 504
    type = "server_error"
    code = "deadline_passed"

    def __init__(self, *, seconds: float) -> None:
        remedy = "send fewer texts, or a longer timeout in the header X-Request-Timeout"
        super().__init__(f"the request timed out after {seconds:g} s: {remedy}")


class NotServing(RuntimeFault):
    """The server cannot compute vectors now."""

    status = 503
    type = "server_error"
    retry_after = 1


class NotReady(NotServing):
    """The model is still loading."""

    code = "model_not_ready"


class BackendFailed(NotServing):
    """The backend has failed."""

    code = "backend_failed"


def restore_fault(name: str, message: str, attributes: Mapping[str, Any]) -> RuntimeFault:
    """Recreate a fault of another process from its class name, message and attributes (`vars`)."""
    kinds, found = [RuntimeFault], dict[str, type[RuntimeFault]]()
    while kinds:
        kind = kinds.pop()
        found[kind.__name__] = kind
        kinds += kind.__subclasses__()
    fault = found[name].__new__(found[name])
    RuntimeFault.__init__(fault, message)
    vars(fault).update(attributes)
    return fault
