"""The contract between operator and runtime. The operator imports nothing else of the runtime.

`serve` has the server's flags, `flags` their parser and writer, `terms` their values, `uri` the URIs of models,
`initializer` the paths of a model in a pod and the format of a failed download. It imports only the standard library
and pydantic.
"""

from embedding_runtime.contract.flags import ContractError
from embedding_runtime.contract.initializer import (
    CODE_VARIABLE,
    MODEL_DIR,
    MODEL_NOTE,
    PVC_ROOT,
    DownloadVerdict,
    FailedDownload,
)
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
    "CODE_VARIABLE",
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
