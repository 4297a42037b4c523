"""What the routes need of the rest: the model as it is served, the way from texts to vectors."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import numpy as np

from embedding_runtime.contract import BackendName, Kind
from embedding_runtime.errors import BadRequest, ClientGone, DeadlinePassed, InputTooLong, OneText, UnknownModel
from embedding_runtime.frontend.answer_budget import BYTES_PER_NUMBER
from embedding_runtime.frontend.context import RequestContext
from embedding_runtime.frontend.limits import Limits
from embedding_runtime.frontend.pipeline.options import Options
from embedding_runtime.model import ModelSpec, space
from embedding_runtime.model.tokenizer import TextTokenizer
from embedding_runtime.observability import tracing
from embedding_runtime.protocol.messages import VectorRows
from embedding_runtime.protocol.requests import Lane
from embedding_runtime.protocol.token_batch import TokenBatch, TokenIds
from embedding_runtime.scheduler.base import Scheduler

__all__ = ["Service"]


T = TypeVar("T")
Text = TypeVar("Text", str, tuple[str, str])
Encoded = TypeVar("Encoded")

Given = str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]
"""A text, texts, the token ids of one or of several."""


SMALL = 1024
"""Characters that are tokenized on the loop: in a third of a millisecond, less than a thread costs on busy cores."""

SLICE = 1 << 16
"""Characters that are tokenized at a time: 30 MB of tokenizers' own objects where each is a token."""


@dataclass(frozen=True)
class Service:
    """One served model."""

    name: str
    backend: BackendName
    spec: ModelSpec
    tokenizer: TextTokenizer
    engine: Scheduler
    limits: Limits
    created: int
    """When this server started, seconds since 1970."""
    _large: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    """Held while more than a slice is tokenized, so that the peaks of several requests do not add up."""

    @cached_property
    def space(self) -> str:
        """As `modelspec.space`. Reads files, once: call it in a thread."""
        return space.digest(self.spec)

    def check_model(self, asked: str) -> None:
        """Raises UnknownModel."""
        if asked != self.name:
            raise UnknownModel(served=self.name)

    def check_number(self, texts: Sequence[object], field: str) -> None:
        """Of the texts, or pairs, in one request. Raises BadRequest."""
        if not texts:
            raise BadRequest(f"{field} is an empty list: give at least one text", param=field)
        if len(texts) > self.limits.max_inputs:
            most = f"{self.limits.max_inputs} are taken in one request (--max_inputs)"
            raise BadRequest(f"{field} has {len(texts)} texts; {most}: send several requests", param=field)

    def check_tokens(self, tokens: int, field: str, *, more: bool = False) -> None:
        """Of all texts in one request, `more` where some were not counted. Raises BadRequest."""
        if tokens > self.limits.max_request_tokens:
            most = f"{self.limits.max_request_tokens} are taken in one request (--max_request_tokens)"
            has = f"{tokens} tokens or more" if more else f"{tokens} tokens"
            raise BadRequest(f"{field} has {has}; {most}: send several requests", param=field)

    async def vectors(
        self, context: RequestContext, given: Given, options: Options, *, field: str = "input"
    ) -> tuple[VectorRows, int]:
        """One row a text, as the options have it, and how many tokens that took. `field`: where the texts came in.

        Raises what `tokenize` and `embed` do.
        """
        tracing.annotate({"gen_ai.operation.name": "embeddings"})
        several = not isinstance(given, str) and given and not isinstance(given[0], int)
        if several and self.spec.kind is Kind.EMBEDDING_MODEL:
            await self._reserve(context, min(len(given), self.limits.max_inputs))
        texts = await self.tokenize(given, options, field=field)
        return options.finish(await self.embed(context, texts, field=field)), texts.tokens

    async def scores(
        self,
        context: RequestContext,
        pairs: Sequence[tuple[str, str]],
        *,
        operation: str,
        field: str,
        truncate: bool = False,
    ) -> tuple[VectorRows, int]:
        """One row a pair, a score a label, as CrossEncoder gives them: after its activation. And how many tokens.

        `operation`: its name in traces; OpenTelemetry has none for it. Raises what `tokenize_pairs` and `embed` do.
        """
        tracing.annotate({"gen_ai.operation.name": operation})
        texts = await self.tokenize_pairs(pairs, truncate=truncate, field=field)
        return await self.embed(context, texts, field=field), texts.tokens

    async def tokenize(self, given: Given, options: Options, *, field: str = "input") -> TokenBatch:
        """The ids of each text. Raises BadRequest (for a cross-encoder, too), InputTooLong."""
        if self.spec.kind is not Kind.EMBEDDING_MODEL:
            raise BadRequest(f"{self.name} is a cross-encoder: it has no embeddings, it scores pairs at /v1/rerank")
        many = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else given
        self.check_number(many, field)
        if isinstance(many[0], str):
            texts = await self._timed(sum(map(len, many)), lambda: self._encoded(many, options, field))  # type: ignore[arg-type] # all are str
        elif options.prompt:
            message = f"{field}: this model has a prompt before every text: send texts, and it is put there"
            raise BadRequest(message, param=field)
        else:
            texts = TokenBatch.of([self._as_ids(field, index, ids) for index, ids in enumerate(many)])  # type: ignore[arg-type] # all are ids
        self._check(texts, options.limit, field, more=len(texts) < len(many))
        return texts

    async def tokenize_pairs(
        self, pairs: Sequence[tuple[str, str]], *, truncate: bool = False, field: str = "documents"
    ) -> TokenBatch:
        """The ids of each pair (a query and a document). Pairs that are too long are cut if asked for.

        `field` is what the request calls them. Raises BadRequest (for an embedding model, too), InputTooLong.
        """
        if self.spec.kind is not Kind.CROSS_ENCODER:
            raise BadRequest(
                f"{self.name} is an embedding model: it scores no pairs, its vectors are at /v1/embeddings"
            )
        self.check_number(pairs, field)
        limit = self.spec.max_length
        characters = sum(len(one) + len(other) for one, other in pairs)
        cut_to = limit if truncate else None
        texts = await self._timed(
            characters,
            lambda: self._batch(pairs, lambda few: self.tokenizer.encode_pairs(few, cut_to=cut_to), field=field),
        )
        self._check(texts, limit, field, more=len(texts) < len(pairs))
        return texts

    async def embed(self, context: RequestContext, texts: TokenBatch, *, field: str) -> VectorRows:
        """As `Scheduler.embed`, for as long as the client is there and has time.

        Raises ClientGone and DeadlinePassed, too. `field`: where the texts came in.
        """
        deadline = context.deadline
        if deadline.left <= 0:
            raise DeadlinePassed(seconds=deadline.seconds)
        context.lane = context.lane or Lane.by_size(len(texts))
        context.texts += len(texts)
        context.tokens += texts.tokens
        with tracing.span("embed"):
            try:
                return await self._while_wanted(
                    context,
                    lambda: self.engine.embed(texts, context.principal, lane=context.lane, seconds=deadline.left),
                )
            except OneText as fault:
                raise type(fault)(index=fault.index, field=field) from fault

    async def _reserve(self, context: RequestContext, texts: int) -> None:
        """Wait until there is memory for the answer to so many. Raises ClientGone, DeadlinePassed."""
        size = texts * self.spec.dimensions * BYTES_PER_NUMBER
        share = context.answer_share
        if share is not None and not share.reserve_now(size):
            await self._while_wanted(context, lambda: share.reserve(size))

    @staticmethod
    async def _while_wanted(context: RequestContext, work: Callable[[], Awaitable[T]]) -> T:
        """Do it for as long as the client is there and has time. Raises ClientGone, DeadlinePassed."""
        gone = asyncio.ensure_future(context.disconnected())
        try:
            async with asyncio.timeout_at(context.deadline.at) as time:

                def leave(_: object) -> None:
                    time.reschedule(0)

                gone.add_done_callback(leave)
                try:
                    return await work()
                finally:
                    gone.remove_done_callback(leave)
        except TimeoutError:
            raise (ClientGone() if gone.done() else DeadlinePassed(seconds=context.deadline.seconds)) from None
        finally:
            gone.cancel()

    async def _timed(self, characters: int, tokenize: Callable[[], TokenBatch]) -> TokenBatch:
        with tracing.span("tokenize"), self.engine.metrics.tokenization.time():
            return await self.in_turn(characters, tokenize)

    async def in_turn(self, characters: int, work: Callable[[], T]) -> T:
        """What tokenizes so much: on the loop, in a thread, or in a thread when no other has more than a slice."""
        if characters <= SMALL:
            return work()
        if characters <= SLICE:
            return await asyncio.to_thread(work)
        async with self._large:
            return await asyncio.to_thread(work)

    def sliced(
        self,
        texts: Sequence[Text],
        encode: Callable[[Sequence[Text]], Encoded],
        *,
        size: Callable[[Encoded], int],
        field: str,
    ) -> list[Encoded]:
        """`encode` of all of them, a slice at a time. It stops at more tokens than a request may have.

        `size`: the tokens of a slice. Then there are fewer texts than were given, and the caller refuses them. Raises
        BadRequest for one that is far longer.
        """
        found: list[Encoded] = []
        tokens = 0
        for few in _slices(texts):
            self._refuse_endless(few[-1], field)
            found.append(encode(few))
            tokens += size(found[-1])
            if tokens > self.limits.max_request_tokens:
                break
        return found

    def _batch(
        self, texts: Sequence[Text], encode: Callable[[Sequence[Text]], TokenBatch], *, field: str
    ) -> TokenBatch:
        return TokenBatch.joined(self.sliced(texts, encode, size=lambda found: found.tokens, field=field))

    def _refuse_endless(self, text: str | tuple[str, str], field: str) -> None:
        """Counted in pieces, whose ends may add some tokens: hence far more than is taken, and never by mistake."""
        if _characters(text) <= SLICE:
            return
        most, tokens = 2 * self.limits.max_request_tokens, 0
        for part in [text] if isinstance(text, str) else text:
            for start in range(0, len(part), SLICE):
                tokens += self.tokenizer.count(part[start : start + SLICE])
                if tokens > most:
                    self.check_tokens(tokens, field, more=True)

    def _encoded(self, texts: Sequence[str], options: Options, field: str) -> TokenBatch:
        side, limit = options.cut, options.limit
        if side is not None and limit <= len(self.tokenizer.first) + len(self.tokenizer.last):
            message = f"truncate_prompt_tokens={limit} leaves no room beside the tokens around every text"
            raise BadRequest(message, param="truncate_prompt_tokens")

        def encode(few: Sequence[str]) -> TokenBatch:
            found = self.tokenizer.encode(few, prompt=options.prompt)
            if side is None or found.lengths.max() <= limit:
                return found
            return TokenBatch.of([self.tokenizer.cut(ids, limit, side) for ids in found])

        return self._batch(texts, encode, field=field)

    def _check(self, texts: TokenBatch, limit: int, field: str, *, more: bool = False) -> None:
        """What one request gives the worker. Raises BadRequest, InputTooLong."""
        lengths = texts.lengths.tolist()
        if not all(lengths):
            raise BadRequest(f"{field}[{lengths.index(0)}] has no tokens", param=field)
        if max(lengths) > limit:
            too_long = {index: length for index, length in enumerate(lengths) if length > limit}
            raise InputTooLong(too_long, limit=limit, field=field)
        self._refuse_ids_without_weights(texts, field)
        if self.backend is BackendName.VLLM and self.spec.padding is not None:
            self._refuse_what_vllm_gets_wrong(texts, self.spec.padding, field)
        self.check_tokens(texts.tokens, field, more=more)

    def _refuse_ids_without_weights(self, texts: TokenBatch, field: str) -> None:
        """Tokens that were added to the tokenizer, where the model's embeddings were not resized."""
        if texts.ids.max() < self.spec.vocabulary:
            return
        for index, text in enumerate(texts):
            if (highest := int(text.max())) >= self.spec.vocabulary:
                message = (
                    f"{field}[{index}] has {self.tokenizer.name(highest)}, and the model's weights have rows for the "
                    f"ids below {self.spec.vocabulary} only: take it out of the text"
                )
                raise BadRequest(message, param=field)

    @staticmethod
    def _refuse_what_vllm_gets_wrong(texts: TokenBatch, padding: int, field: str) -> None:
        """vLLM gives a padding inside of a text the next position; RoBERTa's own code gives it the padding's."""
        for index, text in enumerate(texts):
            if padding in text:
                message = (
                    f"{field}[{index}] has the model's padding token, which vLLM places otherwise than the model does"
                )
                raise BadRequest(f"{message}: take it out, or serve with --backend=huggingface", param=field)

    def _as_ids(self, field: str, index: int, ids: Sequence[int]) -> TokenIds:
        """Another tokenizer's ids would give a wrong vector; they rarely stand between our special tokens."""
        first, last = self.tokenizer.first, self.tokenizer.last
        problem = None
        if (highest := max(ids, default=0)) >= self.spec.vocabulary:
            problem = f"has a token id of {highest}, the model's are below {self.spec.vocabulary}"
        elif ids and not (list(ids[: len(first)]) == first and list(ids[len(ids) - len(last) :]) == last):
            problem = f"is not as this model's tokenizer has it: {first} before every text, {last} after"
        if problem is not None:
            raise BadRequest(f"{field}[{index}] {problem}: {_REMEDY}", param=field)
        return np.array(ids, dtype=np.int32)


_REMEDY = "send texts, or ids of the model's own tokenizer (LangChain: check_embedding_ctx_length=False)"


def _slices(texts: Sequence[Text]) -> Iterator[Sequence[Text]]:
    """As they come; each ends with the text that fills it, so that a longer one is always the last."""
    first = characters = 0
    for place, text in enumerate(texts, start=1):
        characters += _characters(text)
        if characters >= SLICE or place == len(texts):
            yield texts[first:place]
            first, characters = place, 0


def _characters(text: str | tuple[str, str]) -> int:
    return len(text) if isinstance(text, str) else sum(map(len, text))
