"""Tokenizes the texts, pairs and token ids of a request, and checks what comes out. See `token_budget`."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np

from embedding_runtime.contract import BackendName, Kind
from embedding_runtime.errors import BadRequest, InputTooLong, UnsupportedTask
from embedding_runtime.frontend.limits import Limits
from embedding_runtime.frontend.pipeline.computing import run_large
from embedding_runtime.frontend.pipeline.options import Options
from embedding_runtime.frontend.pipeline.token_budget import Admit, TokenBudget, admit_any
from embedding_runtime.model import ModelSpec
from embedding_runtime.model.tokenizer import TextTokenizer, Token
from embedding_runtime.observability import tracing
from embedding_runtime.observability.tallies import HistogramTally
from embedding_runtime.protocol.token_batch import TokenBatch, TokenIds

__all__ = ["Given", "Tokenization"]

T = TypeVar("T")

Given = str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]
"""A text, several texts, or the token ids of one or several texts."""

FEW_IDS = 10_000
"""Up to this many token ids of a request are checked on the event loop, in a millisecond."""


class Tokenization:
    """The tokenizer of a model, with the limits of a request."""

    def __init__(
        self,
        name: str,
        backend: Callable[[], str],
        spec: ModelSpec,
        tokenizer: TextTokenizer,
        *,
        limits: Limits,
        seconds: HistogramTally,
    ) -> None:
        """`name`: name of the model. `backend`: returns the backend. `seconds`: metric of the duration."""
        self._name, self._backend, self._spec = name, backend, spec
        self._tokenizer, self._seconds = tokenizer, seconds
        self.budget = TokenBudget(tokenizer, limits)
        self.listing = asyncio.Lock()
        """Held by requests that list the tokens of long texts, one at a time."""

    async def texts(
        self,
        given: Given,
        options: Options,
        *,
        field: str,
        admit: Admit = admit_any,
        truncated: list[int] | None = None,
    ) -> TokenBatch:
        """Tokenize texts. The indices of truncated texts are added to `truncated`.

        Raises BadRequest, InputTooLong, and what `admit` raises.
        """
        many: Sequence[Any] = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else given
        self.budget.check_number(many, field)
        if isinstance(many[0], str):
            cuts: list[bool] = []
            encode = self._encoder(options, cuts)
            most = None if options.cut is None else options.limit
            slices = self.budget.in_slices(many, encode, size=_tokens, field=field, admit=admit, cut_to=most)
            texts = TokenBatch.joined(await self._timed(slices))
            if truncated is not None:
                truncated += [index for index, cut in enumerate(cuts) if cut]
        elif options.prompt:
            message = f"{field}: this model has a prompt, which cannot be added to token ids: send texts"
            raise BadRequest(message, param=field)
        else:
            check = partial(self._ids, many, field)
            texts = await run_large(check) if sum(map(len, many)) > FEW_IDS else check()
        self._check(texts, options.limit, field, more=len(texts) < len(many))
        return texts

    async def pairs(
        self,
        pairs: Sequence[str | tuple[str, str]],
        *,
        truncate: bool,
        field: str,
        instruction: str | None = None,
        admit: Admit = admit_any,
        truncated: list[int] | None = None,
    ) -> TokenBatch:
        """Tokenize pairs of a query and a document, and truncate long ones if `truncate` is set.

        `field`: the field with the texts. `instruction`: in place of the model's prompt. `truncated`: see `texts`.
        Raises BadRequest, UnsupportedTask, InputTooLong, and what `admit` raises.
        """
        if self._spec.kind is not Kind.CROSS_ENCODER:
            which, use = "an embedding model", "/v1/embeddings"
            if self._spec.kind is Kind.SPARSE_ENCODER:
                which, use = "a sparse encoder", "/embed_sparse"
            raise UnsupportedTask(f"{self._name} is {which}, which does not score pairs: use {use} for vectors")
        self.budget.check_number(pairs, field)
        self._check_chat(pairs, instruction, field)
        limit = self._spec.max_length
        cuts: list[bool] = []
        encode = partial(
            self._tokenizer.encode_pairs, prompt=instruction, cut_to=limit if truncate else None, cuts=cuts
        )
        most = limit if truncate else None
        slices = self.budget.in_slices(pairs, encode, size=_tokens, field=field, admit=admit, cut_to=most)
        texts = TokenBatch.joined(await self._timed(slices))
        if truncated is not None:
            truncated += [index for index, cut in enumerate(cuts) if cut]
        self._check(texts, limit, field, more=len(texts) < len(pairs))
        return texts

    def _check_chat(self, pairs: Sequence[str | tuple[str, str]], instruction: str | None, field: str) -> None:
        """Reject what the model's chat template has no place for. Raises BadRequest."""
        chat = self._spec.chat
        if instruction and (chat is None or not chat.takes_instruction):
            raise BadRequest(
                "instruction: this model has no place for an instruction: put the instruction into the query",
                param="instruction",
            )
        if chat is not None and any(isinstance(each, str) for each in pairs):
            message = "this model scores a query and a document, which its chat template joins: send pairs of texts"
            raise BadRequest(f"{field}: {message}", param=field)

    async def tokens(
        self,
        texts: Sequence[str],
        write: Callable[[Iterable[Token]], T],
        *,
        special: bool,
        field: str,
        admit: Admit = admit_any,
    ) -> tuple[list[T], int]:
        """Tokenize texts without a prompt, and write the tokens of each with `write`.

        Returns the results of `write` and the number of tokens. Raises BadRequest, and what `admit` raises.
        """
        self.budget.check_number(texts, field)
        encode = partial(self._tokenizer.tokens, write=write, special=special)
        # One slice at a time: texts and offsets of tokens take several times the memory of their ids.
        slices = await self.budget.in_slices(texts, encode, size=_counted, field=field, admit=admit, run=run_large)
        found = [written for each in slices for _, written in each]
        tokens = sum(map(_counted, slices))
        self.budget.check_tokens(tokens, field, more=len(found) < len(texts), one=len(texts) == 1)
        return found, tokens

    async def _timed(self, work: Awaitable[T]) -> T:
        begin = time.perf_counter()
        with tracing.span("tokenize"):
            try:
                return await work
            finally:
                self._seconds.observe(time.perf_counter() - begin)

    def _encoder(self, options: Options, cuts: list[bool]) -> Callable[[Sequence[str]], TokenBatch]:
        """The encoder for the options. If it truncates, it adds to `cuts` whether each text was. Raises BadRequest."""
        side, limit = options.cut, options.limit
        if side is None:
            return partial(self._tokenizer.encode, prompt=options.prompt)
        if limit <= len(self._tokenizer.first) + len(self._tokenizer.last):
            message = (
                f"truncate_prompt_tokens={limit} leaves no room for text beside the special tokens: use a larger number"
            )
            raise BadRequest(message, param="truncate_prompt_tokens")

        def encode(few: Sequence[str]) -> TokenBatch:
            found = self._tokenizer.encode(few, prompt=options.prompt)
            cuts.extend((found.lengths > limit).tolist())
            if found.lengths.max() <= limit:
                return found
            return TokenBatch.of([self._tokenizer.cut(ids, limit, side) for ids in found])

        return encode

    def _check(self, texts: TokenBatch, limit: int, field: str, *, more: bool = False) -> None:
        """Check the tokens of a request. Raises BadRequest, InputTooLong."""
        lengths = texts.lengths.tolist()
        if not all(lengths):
            raise BadRequest(f"{field}[{lengths.index(0)}] has no tokens: remove it", param=field)
        if max(lengths) > limit:
            too_long = {index: length for index, length in enumerate(lengths) if length > limit}
            raise InputTooLong(too_long, limit=limit, field=field)
        self._reject_ids_without_weights(texts, field)
        if self._backend() == BackendName.VLLM and self._spec.padding is not None:
            _reject_padding_tokens(texts, self._spec.padding, field)
        self.budget.check_tokens(texts.tokens, field, more=more, one=len(lengths) == 1 and not more)

    def _reject_ids_without_weights(self, texts: TokenBatch, field: str) -> None:
        """Reject tokens that were added to the tokenizer without resizing the model's embeddings."""
        if texts.ids.max() < self._spec.vocabulary:
            return
        for index, text in enumerate(texts):
            if (highest := int(text.max())) >= self._spec.vocabulary:
                message = (
                    f"{field}[{index}] contains {self._tokenizer.name(highest)}, but the model's weights cover ids "
                    f"below {self._spec.vocabulary} only: remove it from the text"
                )
                raise BadRequest(message, param=field)

    def _ids(self, many: Sequence[Sequence[int]], field: str) -> TokenBatch:
        """Check token ids of texts. Raises BadRequest."""
        return TokenBatch.of([self._as_ids(field, index, ids) for index, ids in enumerate(many)])

    def _as_ids(self, field: str, index: int, ids: Sequence[int]) -> TokenIds:
        """Check token ids of the client. Those of another tokenizer rarely have the special tokens of this one."""
        first, last = self._tokenizer.first, self._tokenizer.last
        problem = None
        if (highest := max(ids, default=0)) >= self._spec.vocabulary:
            problem = f"has the token id {highest}, but the model's ids are below {self._spec.vocabulary}"
        elif ids and not (list(ids[: len(first)]) == first and list(ids[len(ids) - len(last) :]) == last):
            problem = f"lacks the special tokens of this model's tokenizer: {first} before the text and {last} after it"
        if problem is not None:
            raise BadRequest(f"{field}[{index}] {problem}: {_REMEDY}", param=field)
        return np.array(ids, dtype=np.int32)


_REMEDY = "send texts, or ids from the model's own tokenizer (in LangChain, set check_embedding_ctx_length=False)"


def _reject_padding_tokens(texts: TokenBatch, padding: int, field: str) -> None:
    """vLLM gives a padding token within a text the next position, and RoBERTa's code the padding's."""
    for index, text in enumerate(texts):
        if padding in text:
            message = (
                f"{field}[{index}] contains the padding token, whose position vLLM computes differently from the model"
            )
            raise BadRequest(f"{message}: remove it, or use a server with --backend=huggingface", param=field)


def _tokens(batch: TokenBatch) -> int:
    return batch.tokens


def _counted(found: Iterable[tuple[int, object]]) -> int:
    return sum(tokens for tokens, _ in found)
