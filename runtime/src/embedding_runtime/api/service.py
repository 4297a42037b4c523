"""What the routes need of the rest: the model as it is served, the way from texts to vectors."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fastapi import Request

from embedding_runtime import calls, tracing
from embedding_runtime.contract import BackendName
from embedding_runtime.engine import Engine
from embedding_runtime.errors import BadRequest, ClientGone, InputTooLong, UnknownModel
from embedding_runtime.modelspec import ModelSpec
from embedding_runtime.tokenization import TextTokenizer
from embedding_runtime.wire import TokenIds, VectorRows

__all__ = ["Service"]


@dataclass(frozen=True)
class Service:
    """One served model."""

    name: str
    backend: BackendName
    spec: ModelSpec
    tokenizer: TextTokenizer
    engine: Engine
    created: int
    """When this server started, seconds since 1970."""

    def check_model(self, asked: str) -> None:
        """Raises UnknownModel."""
        if asked != self.name:
            raise UnknownModel(served=self.name)

    async def tokenize(self, given: str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]) -> list[TokenIds]:
        """One array of ids a text. Raises BadRequest, InputTooLong."""
        many = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else given
        if not many:
            raise BadRequest("input is an empty list: give at least one text", param="input")
        if isinstance(many[0], str):
            with tracing.span("tokenize"), self.engine.metrics.tokenization.time():
                texts = await asyncio.to_thread(self.tokenizer.encode, many)  # type: ignore[arg-type] # all are str
        elif self.spec.prompt:
            message = "this model has a prompt before every text: send texts, and it is put there"
            raise BadRequest(message, param="input")
        else:
            texts = [self._as_ids(index, ids) for index, ids in enumerate(many)]  # type: ignore[arg-type] # all are ids
        for index, text in enumerate(texts):
            if not len(text):
                raise BadRequest(f"input[{index}] has no tokens", param="input")
            if len(text) > self.spec.max_length:
                raise InputTooLong(index=index, length=len(text), limit=self.spec.max_length)
            self._refuse_what_vllm_gets_wrong(index, text)
        return texts

    async def embed(self, request: Request, texts: Sequence[TokenIds]) -> VectorRows:
        """As `Engine.embed`, for as long as the client is there. Raises ClientGone and RateLimited, too."""
        if (call := calls.current()) is not None:
            call.charge(texts=len(texts), tokens=sum(map(len, texts)))
        with tracing.span("embed"):
            work = asyncio.ensure_future(self.engine.embed(texts))
            gone = asyncio.ensure_future(request.receive())  # the body has been read: the next one is the disconnect
            try:
                await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not work.done():
                    raise ClientGone
                return await work
            finally:
                gone.cancel()
                work.cancel()

    def _refuse_what_vllm_gets_wrong(self, index: int, text: TokenIds) -> None:
        """vLLM gives a padding inside of a text the next position; RoBERTa's own code gives it the padding's."""
        padding = self.spec.padding
        if self.backend is BackendName.VLLM and padding is not None and padding in text:
            message = f"input[{index}] has the model's padding token, which vLLM places otherwise than the model does"
            raise BadRequest(f"{message}: take it out, or serve with --backend=huggingface", param="input")

    def _as_ids(self, index: int, ids: Sequence[int]) -> TokenIds:
        beyond = [token for token in ids if token >= self.spec.vocabulary]
        if beyond:
            raise BadRequest(
                f"input[{index}] has a token id of {max(beyond)}, the model's are below {self.spec.vocabulary}: send "
                "texts, or ids of the model's own tokenizer (LangChain: check_embedding_ctx_length=False)",
                param="input",
            )
        return np.array(ids, dtype=np.int32)
