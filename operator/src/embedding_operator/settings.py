"""What the operator is told from outside: environment variables EMBEDDING_OPERATOR_*, which the chart's values set."""

from typing import Annotated

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

    @field_validator("runtime_images")
    @classmethod
    def _cpu_has_an_image(cls, images: dict[str, str]) -> dict[str, str]:
        if CPU not in images:
            raise ValueError(f"has no image for {CPU!r}, which services without an accelerator run")
        return images
