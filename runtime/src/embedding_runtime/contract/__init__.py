"""What the operator and the runtime agree on; all that the operator may import of this package.

`serve` has the server's flags, `flags` how they are read and written, `terms` their words, `uri` the form of a model's
address, `initializer` where a model is in a pod and how a failed download is reported. Standard library and pydantic
only.
"""

from embedding_runtime.contract.flags import ContractError
from embedding_runtime.contract.initializer import MODEL_DIR, MODEL_NOTE, PVC_ROOT, DownloadVerdict, FailedDownload
from embedding_runtime.contract.serve import CANNOT_MOVE_VECTORS, ServeArgs
from embedding_runtime.contract.terms import (
    DRAIN_FILE,
    KILLED,
    TASKS,
    BackendName,
    Dtype,
    Kind,
    LogFormat,
    Quantization,
    Task,
    Truncate,
)
from embedding_runtime.contract.uri import BadUri, FileUri, ForeignUri, HuggingFaceUri, ModelUri, PvcUri, parse_uri

__all__ = [
    "CANNOT_MOVE_VECTORS",
    "DRAIN_FILE",
    "KILLED",
    "MODEL_DIR",
    "MODEL_NOTE",
    "PVC_ROOT",
    "TASKS",
    "BackendName",
    "BadUri",
    "ContractError",
    "DownloadVerdict",
    "Dtype",
    "FailedDownload",
    "FileUri",
    "ForeignUri",
    "HuggingFaceUri",
    "Kind",
    "LogFormat",
    "ModelUri",
    "PvcUri",
    "Quantization",
    "ServeArgs",
    "Task",
    "Truncate",
    "parse_uri",
]
