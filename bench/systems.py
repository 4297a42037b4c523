"""The systems under test and their commands. All get the same model, data type and longest input."""

import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.workloads import MAX_TOKENS, MODEL

__all__ = ["ENCODE", "EXACT", "OURS", "SERVERS", "SYSTEMS", "Server", "least_cosine", "server"]

ROOT = Path(__file__).resolve().parent.parent

DEVICE = "cuda" if shutil.which("nvidia-smi") else "cpu"

EXACT = 0.9999
"""The lowest accepted cosine with the vectors of sentence-transformers."""

_LOW_PRECISION = 0.999
"""Default of the runtime's --minimum_cosine."""

ENCODE = "encode"
"""sentence-transformers, in process: no server."""


@dataclass(frozen=True)
class Server:
    """A system that speaks OpenAI's embeddings over HTTP."""

    argv: Callable[[Path, int, str], list[str]]
    """Builds the command from the model directory, the port, and the data type of the weights."""
    path: str = "/v1/embeddings"
    environment: Mapping[str, str] = field(default_factory=dict)
    health: str | None = None
    """The path to probe under load; only the servers of this project have one."""
    program: Path = Path(sys.executable)
    ready_within: float = 240
    """Seconds."""


def _ours(backend: str) -> Server:
    def argv(model: Path, port: int, dtype: str) -> list[str]:
        flags = {"model_dir": model, "model_name": MODEL, "backend": backend, "host": "127.0.0.1", "http_port": port}
        return [
            *(sys.executable, "-m", "embedding_runtime", "serve", f"--dtype={dtype}", f"--max_length={MAX_TOKENS}"),
            *(f"--{name}={value}" for name, value in flags.items()),
        ]

    return Server(argv, health="/healthz")


def _vllm_server(model: Path, port: int, dtype: str) -> list[str]:
    flags = {"--model": model, "--served-model-name": MODEL, "--host": "127.0.0.1", "--port": port}
    return [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--runner", "pooling", "--dtype", dtype),
        *("--max-model-len", str(MAX_TOKENS)),
        *(str(part) for flag in flags.items() for part in flag),
    ]


_INFINITY = ROOT / ".bench/infinity/bin/infinity_emb"


def _infinity(model: Path, port: int, dtype: str) -> list[str]:
    flags = {"--model-id": model, "--served-model-name": MODEL, "--host": "127.0.0.1", "--port": port}
    return [
        *(str(_INFINITY), "v2", "--engine", "torch", "--device", DEVICE, "--dtype", dtype, "--no-bettertransformer"),
        *(str(part) for flag in flags.items() for part in flag),
    ]


OFFLINE = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "VLLM_NO_USAGE_STATS": "1"}

SERVERS: Mapping[str, Server] = {
    "huggingface": _ours("huggingface"),
    "vllm": _ours("vllm"),
    "infinity": Server(_infinity, path="/embeddings", program=_INFINITY),
    "vllm-server": Server(_vllm_server, environment={"VLLM_CPU_KVCACHE_SPACE": "1"}),
}

OURS = ("huggingface", "vllm")
"""Systems that take flags of this runtime."""

SYSTEMS = ("huggingface", ENCODE, "infinity", "vllm-server", "vllm")
"""In the order of their turns: systems that the goals compare are neighbours."""


def server(system: str) -> Server:
    """The server of a system. This project's may have flags after the name: `huggingface --workers=2 --frontends=2`.

    They replace those that every system gets: `huggingface --dtype=bfloat16`.

    Raises ValueError for an unknown name, and for flags after the name of another system.
    """
    name, *flags = system.split()
    if name not in SERVERS:
        raise ValueError(f"{name!r} is not a server: choose from {', '.join(SERVERS)}")
    if flags and name not in OURS:
        raise ValueError(f"{system!r}: only {' and '.join(OURS)} take flags")
    plain, given = SERVERS[name], {flag.partition("=")[0] for flag in flags}

    def argv(model: Path, port: int, dtype: str) -> list[str]:
        return [*(part for part in plain.argv(model, port, dtype) if part.partition("=")[0] not in given), *flags]

    return replace(plain, argv=argv)


def least_cosine(system: str) -> float:
    """The lowest accepted cosine with the vectors of sentence-transformers, lower where flags ask for low precision."""
    flags = dict(flag.partition("=")[::2] for flag in system.split()[1:])
    low = "--quantize" in flags or flags.get("--dtype") == "bfloat16"
    return float(flags.get("--minimum_cosine", _LOW_PRECISION)) if low else EXACT
