"""The field `output` of /embeddings: several outputs of each text, which one forward pass computes."""

import functools
import operator
from collections.abc import Mapping
from typing import Any

from embedding_runtime.contract import Kind
from embedding_runtime.errors import BadRequest
from embedding_runtime.frontend.context import RequestContext
from embedding_runtime.frontend.dialects.openai.schema import EmbeddingsRequest
from embedding_runtime.frontend.pipeline.answers import encoded, token_vectors, weights
from embedding_runtime.frontend.pipeline.options import Options
from embedding_runtime.frontend.pipeline.service import Service
from embedding_runtime.protocol.requests import Output
from embedding_runtime.protocol.rows import as_dense, as_ragged

__all__ = ["check", "columns"]

_OUTPUTS = {"dense": Output.PER_TEXT, "sparse": Output.SPARSE, "colbert": Output.COLBERT}

_OF_DENSE = ("dimensions", "normalize")
"""Fields that apply to dense vectors only."""


def check(service: Service, body: EmbeddingsRequest) -> Kind:
    """Return the kind of model that the request needs.

    Raises BadRequest for an output that the server does not offer, and for fields that the outputs do not support.
    """
    if body.output is None or service.spec.kind is Kind.CROSS_ENCODER:
        return Kind.EMBEDDING_MODEL
    if missing := [name for name in body.output if name not in service.outputs]:
        withheld = service.withheld
        raise BadRequest(
            f"output: {service.name} offers {' and '.join(service.outputs)} only, not {' or '.join(missing)}"
            + (f": {withheld}" if withheld else ""),
            param="output",
        )
    if "dense" not in body.output and (given := [name for name in _OF_DENSE if getattr(body, name) is not None]):
        raise BadRequest(
            f"{given[0]}: it applies to dense vectors, which output does not request; remove the field", param=given[0]
        )
    encoding = body.encoding_format or body.embedding_type or "float"
    if body.output != ["dense"] and encoding not in ("float", "base64"):
        raise BadRequest(
            f"encoding_format: {encoding} is supported for dense vectors only; use float or base64, or output dense",
            param="encoding_format",
        )
    return service.spec.kind


async def columns(
    service: Service, context: RequestContext, body: EmbeddingsRequest, options: Options, encoding: str
) -> tuple[Mapping[str, Any], int]:
    """Return the items of the texts under the field of each output, and the number of tokens.

    Raises as `Service.several` does.
    """
    dtype, endianness = body.embed_dtype or "float32", body.endianness or "little"
    output = functools.reduce(operator.or_, (_OUTPUTS[name] for name in body.output or ["dense"]))
    if output is Output.PER_TEXT:
        rows, tokens = await service.vectors(context, body.input, options)
        return {"embedding": await encoded(rows, encoding, dtype, endianness)}, tokens
    if output is Output.SPARSE:
        sparse, tokens = await service.sparse_vectors(context, body.input, options, field="input")
        return {"sparse_embedding": await weights(sparse)}, tokens
    found, tokens = await service.several(context, body.input, options, output)
    written: dict[str, Any] = {}
    for each, part in found.items():
        if each is Output.PER_TEXT:
            written["embedding"] = await encoded(as_dense(part), encoding, dtype, endianness)
        elif each is Output.SPARSE:
            written["sparse_embedding"] = await weights(as_ragged(part))
        else:
            written["colbert_embedding"] = await token_vectors(as_ragged(part), encoding, dtype, endianness)
    return written, tokens
