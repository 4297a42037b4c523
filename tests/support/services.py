"""A Service over an engine that the test holds, with MiniLM's tokenizer and the limits that are the default."""

from embedding_runtime.api.limits import Limits
from embedding_runtime.api.service import Service
from embedding_runtime.contract import BackendName, ServeArgs
from embedding_runtime.engine import Engine
from embedding_runtime.modelspec import ModelSpec
from embedding_runtime.tokenization import TextTokenizer
from support.models import packaged_minilm

__all__ = ["MINILM", "a_service"]

MINILM = ModelSpec.read(packaged_minilm())


def a_service(
    engine: Engine, *, spec: ModelSpec = MINILM, backend: BackendName = BackendName.FAKE, **limits: int
) -> Service:
    """`limits`: flags that are not as by default."""
    args = ServeArgs.model_validate({"model_name": "m", **limits})
    return Service("m", backend, spec, TextTokenizer(spec), engine, Limits.of(args), created=0)
