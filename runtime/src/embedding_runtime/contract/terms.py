"""The words of the server's flags: backends, tasks, types; and what its process and its pod agree on."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import PurePosixPath

__all__ = ["DRAIN_FILE", "KILLED", "TASKS", "BackendName", "Dtype", "Kind", "LogFormat", "Quantization", "Task"]


KILLED = 128 + 9
"""Exit code of a server whose worker was killed (SIGKILL, as a shell tells it): nearly always for memory.

The kubelet says OOMKilled only of a container's first process, and of all of them only with cgroup v2.
"""


DRAIN_FILE = PurePosixPath("/etc/pod-info/draining")
"""In a pod: not empty from the moment when the pod is about to lose its traffic. The server then closes each connection
with its next answer."""


class BackendName(StrEnum):
    """What computes the vectors."""

    AUTO = "auto"
    """vllm where it serves the model exactly, else huggingface. The server says which one it is, and why."""
    VLLM = "vllm"
    HUGGINGFACE = "huggingface"
    FAKE = "fake"


class Kind(StrEnum):
    """What a model gives; its own files say which."""

    EMBEDDING_MODEL = "embedding model"
    """A vector for a text."""
    CROSS_ENCODER = "cross-encoder"
    """Scores for a pair of texts."""


class Task(StrEnum):
    """What a model is served for, in the words of its backend (KServe's guide: they differ)."""

    EMBED = "embed"
    SCORE = "score"
    TEXT_EMBEDDING = "text_embedding"
    TEXT_RANKING = "text_ranking"


_VLLMS_WORDS = {Kind.EMBEDDING_MODEL: Task.EMBED, Kind.CROSS_ENCODER: Task.SCORE}

_HUGGINGFACES_WORDS = {Kind.EMBEDDING_MODEL: Task.TEXT_EMBEDDING, Kind.CROSS_ENCODER: Task.TEXT_RANKING}

TASKS: Mapping[BackendName, Sequence[Mapping[Kind, Task]]] = {
    BackendName.AUTO: (_VLLMS_WORDS, _HUGGINGFACES_WORDS),
    BackendName.VLLM: (_VLLMS_WORDS,),
    BackendName.HUGGINGFACE: (_HUGGINGFACES_WORDS,),
    BackendName.FAKE: (_VLLMS_WORDS,),
}
"""The words of each backend; the first ones are those that messages write."""


class Dtype(StrEnum):
    """The type of the model's weights while it computes. auto: as the model's own files say."""

    AUTO = "auto"
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


class Quantization(StrEnum):
    """How the weights of linear layers are quantized."""

    NONE = "none"
    INT8 = "int8"
    """A scale for each output of the weights, and for each token: dynamic quantization."""


class LogFormat(StrEnum):
    """One line an event: to read, or a JSON object."""

    TEXT = "text"
    JSON = "json"
