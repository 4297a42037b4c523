"""What the operator is told from outside: environment variables EMBEDDING_OPERATOR_*, which the chart's values set."""

from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["CPU", "Settings"]

CPU = "cpu"
"""Key of the runtime image for services that ask for no accelerator."""


class Settings(BaseSettings):
    """Settings of one operator process. Values of maps are JSON."""

    model_config = SettingsConfigDict(
        env_prefix="EMBEDDING_OPERATOR_", frozen=True, extra="forbid", use_attribute_docstrings=True
    )

    runtime_images: dict[str, str] = {CPU: "embedding-runtime:cpu", "nvidia.com/gpu": "embedding-runtime:cuda"}
    """Image by accelerator: the resource's name as services ask for it, and `cpu` for those that ask for none."""
    storage_image: str = "embedding-storage:latest"
    """Image of the built-in initializer."""
    image_pull_policy: str = "IfNotPresent"
    hf_endpoint: str | None = None
    """Address of a Hugging Face hub other than huggingface.co; the initializer's HF_ENDPOINT."""
    cluster_domain: Annotated[str, Field(min_length=1)] = "cluster.local"

    namespaces: tuple[str, ...] = ()
    """The namespaces to look after; none: all of them."""
    lease_namespace: str = "default"
    """Where the Lease lies by which several operators elect one to work."""
    lease_name: str = "embedding-operator"
    lease_seconds: Annotated[int, Field(ge=5)] = 15
    """A Lease that was not renewed for so long is another's to take."""
    workers: Annotated[int, Field(ge=1)] = 4
    """Reconciles that may be under way at once."""
    resync_seconds: Annotated[int, Field(ge=1)] = 600
    """Every object is looked at that often, whatever the watches said."""
    request_timeout_seconds: Annotated[int, Field(ge=1)] = 10
    """Longest wait for one answer of the API server."""
    health_port: Annotated[int, Field(ge=1, le=65535)] = 8081
    """Port of GET /healthz, for the operator's own probes."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"

    @field_validator("runtime_images")
    @classmethod
    def _cpu_has_an_image(cls, images: dict[str, str]) -> dict[str, str]:
        if CPU not in images:
            raise ValueError(f"has no image for {CPU!r}, which services without an accelerator run")
        return images
