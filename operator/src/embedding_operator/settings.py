"""Settings of the operator: environment variables EMBEDDING_OPERATOR_*, which the chart's values set."""

from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["CPU", "Policy", "SecretPolicy", "Settings"]

CPU = "cpu"
"""Key of the runtime image for services that ask for no accelerator."""


class _PolicyModel(BaseModel):
    """Keys as the chart has them: camelCase."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, use_attribute_docstrings=True, validate_by_name=True
    )


_NOT_FOR_ALL = {
    "HF_ENDPOINT": "use huggingFace.endpoint of the chart (EMBEDDING_OPERATOR_HF_ENDPOINT)",
    "HF_TOKEN": "name a Secret in a ClusterStorageContainer, or in spec.model.tokenSecretRef of a service",
}


class SecretPolicy(_PolicyModel):
    """Which Secrets services and storage containers may name."""

    require_label: bool = False
    """Allow only Secrets with the label `serving.embeddings.dev/use: "true"`."""


class Policy(_PolicyModel):
    """What users who can create EmbeddingServices and StorageContainers may do with them. Defaults are the strictest
    that the guide's services pass.
    """

    images: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Patterns of the images that users may name, beside the operator's own; `*` stands for any text, slashes too."""
    trust_remote_code: bool = False
    """Services may set --trust_remote_code, which runs Python code that comes with a model."""
    allow_pickle: bool = False
    """Services may set --allow_pickle, which reads weights from files that can run code."""
    fake_backend: bool = False
    """Services may set --backend=fake, whose vectors are made up. Only tests want it."""
    secrets: SecretPolicy = SecretPolicy()

    @classmethod
    def unrestricted(cls) -> Self:
        """For a user's own machine, where the user can do all of it anyway."""
        return cls(images=("*",), trust_remote_code=True, allow_pickle=True, fake_backend=True)

    def allows_image(self, image: str) -> bool:
        """Whether a pattern covers it."""
        return any(fnmatchcase(image, pattern) for pattern in self.images)


class Settings(BaseSettings):
    """Settings of one operator process. Values of maps, lists and the policy are JSON."""

    model_config = SettingsConfigDict(
        env_prefix="EMBEDDING_OPERATOR_", frozen=True, extra="forbid", use_attribute_docstrings=True
    )

    runtime_images: dict[str, str] = {CPU: "embedding-runtime:cpu", "nvidia.com/gpu": "embedding-runtime:cuda"}
    """Image by accelerator: the resource's name as services ask for it, and `cpu` for those that ask for none."""
    storage_image: str = "embedding-storage:latest"
    """Image of the built-in initializer."""
    image_pull_policy: str = "IfNotPresent"
    hf_endpoint: str | None = None
    """Address of a Hugging Face hub other than huggingface.co; the initializer's HF_ENDPOINT for hf:// URIs."""
    download_env: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str] = {}
    """Environment variables of every initializer, such as HTTPS_PROXY, NO_PROXY and CA_CERTIFICATES; variables of a
    storage container take precedence. They must not change what is downloaded: they are not part of a revision."""
    policy: Policy = Policy()
    """What users may do with the resources they create."""
    ignored_resources: tuple[str, ...] = ("rdma/*", "vpc.amazonaws.com/*")
    """Patterns of extended resources that say nothing about the runtime image: network devices and the like."""
    cluster_domain: Annotated[str, Field(min_length=1)] = "cluster.local"

    namespaces: tuple[str, ...] = ()
    """The namespaces to manage; none: all of them."""
    writes_cluster_status: bool = True
    """This operator writes the status of ClusterStorageContainers; one that manages some namespaces leaves it to the
    one that manages all of them."""
    lease_namespace: str = "default"
    """Namespace of the Lease by which replicas elect a leader."""
    lease_name: str = "embedding-operator"
    lease_seconds: Annotated[int, Field(ge=5)] = 10
    """A Lease that was not renewed for so long may be taken by another replica."""
    workers: Annotated[int, Field(ge=1)] = 4
    """Reconciles that may run at once."""
    rollout_budget: Annotated[int, Field(ge=1)] = 3
    """Services whose pods may be replaced at once because of a change that their users did not make: of a storage
    container, or of these settings."""
    resync_seconds: Annotated[int, Field(ge=1)] = 3600
    """How often every object is listed and reconciled, whatever the watches reported."""
    request_timeout_seconds: Annotated[int, Field(ge=1)] = 10
    """Longest wait for one answer of the API server."""
    health_port: Annotated[int, Field(ge=1, le=65535)] = 8081
    """Port of GET /healthz and /readyz, for the operator's own probes, and of /metrics."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"

    @field_validator("runtime_images")
    @classmethod
    def _cpu_has_an_image(cls, images: dict[str, str]) -> dict[str, str]:
        if CPU not in images:
            raise ValueError(f"add an image for {CPU!r}, which services without an accelerator use")
        return images

    @field_validator("download_env")
    @classmethod
    def _downloads_the_same(cls, env: dict[str, str]) -> dict[str, str]:
        for name, instead in _NOT_FOR_ALL.items():
            if name in env:
                raise ValueError(f"{name} does not belong here: {instead}")
        return env

    @property
    def manager(self) -> str:
        """What `status.manager` says of the services that this operator manages."""
        return f"{self.lease_namespace}/{self.lease_name}"
