"""Values of flags (backends, tasks, types), and constants that the server and its pod share."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import PurePosixPath

__all__ = [
    "DRAIN_FILE",
    "KILLED",
    "TASKS",
    "BackendName",
    "Dtype",
    "Kind",
    "LogFormat",
    "Quantization",
    "Task",
    "Truncate",
]


KILLED = 128 + 9
"""Exit code of a server with a process that got SIGKILL, nearly always because it ran out of memory.

The kubelet reports OOMKilled only for a container's first process, except with cgroup v2.
"""


DRAIN_FILE = PurePosixPath("/etc/pod-info/draining")
"""File in a pod that is not empty while the pod is draining. The server then closes each connection with its next
response."""


class BackendName(StrEnum):
    """Library that computes the vectors."""

    AUTO = "auto"
    """vllm if it serves the model exactly, else huggingface. The server reports which one it is, and why."""
    VLLM = "vllm"
    HUGGINGFACE = "huggingface"
    FAKE = "fake"


class Kind(StrEnum):
    """Kind of a model, which its files determine."""

    EMBEDDING_MODEL = "embedding model"
    """Returns a vector for a text."""
    CROSS_ENCODER = "cross-encoder"
    """Returns scores for a pair of texts."""
    SPARSE_ENCODER = "sparse encoder"
    """Returns a sparse vector for a text, with a dimension for each token of the vocabulary (SPLADE)."""


class Task(StrEnum):
    """Values of --task. They differ by backend, as in KServe's guide."""

    EMBED = "embed"
    SCORE = "score"
    TEXT_EMBEDDING = "text_embedding"
    TEXT_RANKING = "text_ranking"


_VLLM_TASKS = {Kind.EMBEDDING_MODEL: Task.EMBED, Kind.SPARSE_ENCODER: Task.EMBED, Kind.CROSS_ENCODER: Task.SCORE}

_HUGGINGFACE_TASKS = {
    Kind.EMBEDDING_MODEL: Task.TEXT_EMBEDDING,
    Kind.SPARSE_ENCODER: Task.TEXT_EMBEDDING,
    Kind.CROSS_ENCODER: Task.TEXT_RANKING,
}

TASKS: Mapping[BackendName, Sequence[Mapping[Kind, Task]]] = {
    BackendName.AUTO: (_VLLM_TASKS, _HUGGINGFACE_TASKS),
    BackendName.VLLM: (_VLLM_TASKS,),
    BackendName.HUGGINGFACE: (_HUGGINGFACE_TASKS,),
    BackendName.FAKE: (_VLLM_TASKS,),
}
"""Names of tasks by backend. Messages use the first ones."""


class Dtype(StrEnum):
    """Type of the model's weights in memory. auto: as in the model's files."""

    AUTO = "auto"
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


class Quantization(StrEnum):
    """Quantization of linear layers."""

    NONE = "none"
    INT8 = "int8"
    """Dynamic quantization, with a scale for each output of the weights and for each token."""


class Truncate(StrEnum):
    """End at which a text that is too long is truncated. off: the text is rejected."""

    OFF = "off"
    START = "start"
    END = "end"


class LogFormat(StrEnum):
    """Format of a log line."""

    TEXT = "text"
    JSON = "json"
