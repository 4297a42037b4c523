"""The backend that a running server computes with, as it reports it to the operator."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from embedding_runtime.contract.terms import BackendName

__all__ = ["BACKEND_PATH", "SelectedBackend"]

BACKEND_PATH = "/backend"
"""Path of a server that answers with a `SelectedBackend`, without an API key; 503 until the model is loaded."""

_LONGEST = 300
"""Characters of a reason: it becomes a field of a status."""


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable characters on one line")
    return text


class SelectedBackend(BaseModel):
    """The backend, and why it was selected: as text, a JSON object. Contains no secret."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    backend: Literal[BackendName.VLLM, BackendName.HUGGINGFACE, BackendName.FAKE]
    """The backend that computes."""
    backend_reason: Annotated[str, Field(min_length=1, max_length=_LONGEST), AfterValidator(_printable)]
    """Why this backend."""

    @classmethod
    def of(cls, backend: str, reason: str) -> Self:
        """Create from a reason of any length and characters, which is shortened and made printable."""
        words = "".join(each if each.isprintable() else " " for each in reason).strip() or "unknown"
        return cls.model_validate({"backend": backend, "backend_reason": words[:_LONGEST]})

    @classmethod
    def from_body(cls, body: bytes) -> Self | None:
        """Parse a response; None if it has another format."""
        try:
            return cls.model_validate_json(body)
        except ValidationError:
            return None
