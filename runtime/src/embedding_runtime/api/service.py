"""What the routes need of the rest: the model as it is served, the way from texts to vectors."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fastapi import Request

from embedding_runtime.api.limits import Limits, Patience
from embedding_runtime.contract import BackendName, Kind
from embedding_runtime.engine import Engine
from embedding_runtime.errors import BadRequest, ClientGone, DeadlinePassed, InputTooLong, UnknownModel
from embedding_runtime.modelspec import ModelSpec
from embedding_runtime.tokenization import TextTokenizer
from embedding_runtime.wire import SECOND, TokenIds, VectorRows

__all__ = ["Service"]


@dataclass(frozen=True)
class Service:
    """One served model."""

    name: str
    backend: BackendName
    spec: ModelSpec
    tokenizer: TextTokenizer
    engine: Engine
    limits: Limits
    created: int
    """When this server started, seconds since 1970."""

    def check_model(self, asked: str) -> None:
        """Raises UnknownModel."""
        if asked != self.name:
            raise UnknownModel(served=self.name)

    async def tokenize(self, given: str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]) -> list[TokenIds]:
        """One array of ids a text. Raises BadRequest (for a cross-encoder, too), InputTooLong."""
        if self.spec.kind is not Kind.EMBEDDING_MODEL:
            raise BadRequest(f"{self.name} is a cross-encoder: it has no embeddings, it scores pairs at /v1/rerank")
        many = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else given
        if not many:
            raise BadRequest("input is an empty list: give at least one text", param="input")
        if len(many) > self.limits.max_inputs:
            most = f"{self.limits.max_inputs} are taken in one request (--max_inputs)"
            raise BadRequest(f"input has {len(many)} texts; {most}: send several requests", param="input")
        if isinstance(many[0], str):
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
        if (tokens := sum(map(len, texts))) > self.limits.max_request_tokens:
            most = f"{self.limits.max_request_tokens} are taken in one request (--max_request_tokens)"
            raise BadRequest(f"input has {tokens} tokens; {most}: send several requests", param="input")
        return texts

    async def tokenize_pairs(
        self, pairs: Sequence[tuple[str, str]], *, truncate: bool = False, field: str = "documents"
    ) -> list[TokenIds]:
        """One array of ids a pair (a query and a document), for `score`. Pairs that are too long are cut if asked for.

        `field` is what the request calls them. Raises BadRequest (for an embedding model, too), InputTooLong.
        """
        if self.spec.kind is not Kind.CROSS_ENCODER:
            raise BadRequest(
                f"{self.name} is an embedding model: it scores no pairs, its vectors are at /v1/embeddings"
            )
        if not pairs:
            raise BadRequest(f"{field} is an empty list: give at least one text", param=field)
        limit = self.spec.max_length
        texts = await asyncio.to_thread(self.tokenizer.encode_pairs, pairs, cut_to=limit if truncate else None)
        for index, text in enumerate(texts):
            if len(text) > limit:
                raise InputTooLong(index=index, length=len(text), limit=limit, field=field)
            self._refuse_what_vllm_gets_wrong(index, text & ~SECOND, field)
        return texts

    async def score(self, request: Request, pairs: Sequence[TokenIds]) -> VectorRows:
        """A row a pair, a score a label, as CrossEncoder gives them: after its activation. Raises as `embed` does."""
        return await self.embed(request, pairs)

    async def embed(self, request: Request, texts: Sequence[TokenIds]) -> VectorRows:
        """As `Engine.embed`, for as long as the client is there and has time.

        Raises ClientGone and DeadlinePassed, too.
        """
        patience: Patience = request.state.patience
        if patience.left <= 0:
            raise DeadlinePassed(seconds=patience.seconds)
        work = asyncio.ensure_future(self.engine.embed(texts, seconds=patience.left))
        gone = asyncio.ensure_future(request.receive())  # the body has been read: the next message is the disconnect
        try:
            await asyncio.wait({work, gone}, timeout=patience.left, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise ClientGone if gone.done() else DeadlinePassed(seconds=patience.seconds)
            return await work
        finally:
            gone.cancel()
            work.cancel()

    def _refuse_what_vllm_gets_wrong(self, index: int, text: TokenIds, field: str = "input") -> None:
        """vLLM gives a padding inside of a text the next position; RoBERTa's own code gives it the padding's."""
        padding = self.spec.padding
        if self.backend is BackendName.VLLM and padding is not None and padding in text:
            message = f"{field}[{index}] has the model's padding token, which vLLM places otherwise than the model does"
            raise BadRequest(f"{message}: take it out, or serve with --backend=huggingface", param=field)

    def _as_ids(self, index: int, ids: Sequence[int]) -> TokenIds:
        beyond = [token for token in ids if token >= self.spec.vocabulary]
        if beyond:
            raise BadRequest(
                f"input[{index}] has a token id of {max(beyond)}, the model's are below {self.spec.vocabulary}: send "
                "texts, or ids of the model's own tokenizer (LangChain: check_embedding_ctx_length=False)",
                param="input",
            )
        return np.array(ids, dtype=np.int32)
