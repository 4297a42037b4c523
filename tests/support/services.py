"""A Service with an engine of the test, MiniLM's tokenizer and default limits."""

from embedding_runtime.contract import BackendName, ServeArgs
from embedding_runtime.frontend.limits import Limits
from embedding_runtime.frontend.pipeline.service import Service
from embedding_runtime.model import ModelSpec
from embedding_runtime.model.tokenizer import TextTokenizer
from embedding_runtime.scheduler.engine import Engine
from support.models import packaged_minilm

__all__ = ["MINILM", "a_service"]

MINILM = ModelSpec.read(packaged_minilm())


def a_service(
    engine: Engine, *, spec: ModelSpec = MINILM, backend: BackendName = BackendName.FAKE, **limits: int
) -> Service:
    """`limits`: flags that are not as by default."""
    args = ServeArgs.model_validate({"model_name": "m", **limits})
    return Service("m", backend, spec, TextTokenizer(spec), engine, Limits.of(args), created=0)
