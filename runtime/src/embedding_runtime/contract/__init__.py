"""The contract between operator and runtime. The operator imports nothing else of the runtime.

`serve` has the server's flags, `flags` their parser and writer, `terms` their values, `memory` what a server needs,
`uri` the URIs of models, `initializer` the paths of a model in a pod and what an initializer reports,
`selected_backend` what a server reports, `reporting` the table of `check`. It imports only the standard
library and pydantic.
"""

from embedding_runtime.contract.flags import ContractError
from embedding_runtime.contract.initializer import (
    CACHE_DIR,
    CODE_VARIABLE,
    MODEL_DIR,
    MODEL_NOTE,
    PROGRESS_PATH,
    PROGRESS_PORT,
    PROGRESS_PORT_VARIABLE,
    PVC_ROOT,
    RETRY_IS_USELESS,
    TERMINATION_LOG,
    TOKEN_PATH_VARIABLE,
    DownloadedModel,
    DownloadProgress,
    DownloadVerdict,
    FailedDownload,
)
from embedding_runtime.contract.memory import FRONTEND_BYTES, WORKER_BYTES, least_memory
from embedding_runtime.contract.reporting import report
from embedding_runtime.contract.selected_backend import BACKEND_PATH, SelectedBackend
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
from embedding_runtime.contract.uri import (
    SCHEMES,
    BadUri,
    FileUri,
    ForeignUri,
    HttpUri,
    HuggingFaceUri,
    ModelUri,
    ObjectStoreUri,
    OciUri,
    PvcUri,
    parse_uri,
)

__all__ = [
    "BACKEND_PATH",
    "CACHE_DIR",
    "CANNOT_MOVE_VECTORS",
    "CODE_VARIABLE",
    "DRAIN_FILE",
    "FRONTEND_BYTES",
    "KILLED",
    "MODEL_DIR",
    "MODEL_NOTE",
    "PROGRESS_PATH",
    "PROGRESS_PORT",
    "PROGRESS_PORT_VARIABLE",
    "PVC_ROOT",
    "RETRY_IS_USELESS",
    "SCHEMES",
    "TASKS",
    "TERMINATION_LOG",
    "TOKEN_PATH_VARIABLE",
    "WORKER_BYTES",
    "BackendName",
    "BadUri",
    "ContractError",
    "DownloadProgress",
    "DownloadVerdict",
    "DownloadedModel",
    "Dtype",
    "FailedDownload",
    "FileUri",
    "ForeignUri",
    "HttpUri",
    "HuggingFaceUri",
    "Kind",
    "LogFormat",
    "ModelUri",
    "ObjectStoreUri",
    "OciUri",
    "PvcUri",
    "Quantization",
    "SelectedBackend",
    "ServeArgs",
    "Task",
    "Truncate",
    "least_memory",
    "parse_uri",
    "report",
]
