"""The service that routes call: the served model, and the pipeline from texts to vectors."""

from collections.abc import Awaitable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial

from embedding_runtime.contract import BackendName, Kind, Truncate
from embedding_runtime.errors import NotReady, OneText, UnknownModel
from embedding_runtime.frontend.answer_budget import BYTES_PER_NUMBER, BYTES_PER_SCORE
from embedding_runtime.frontend.context import RequestContext
from embedding_runtime.frontend.limits import Limits
from embedding_runtime.frontend.pipeline.computing import reserve, waiting, while_wanted
from embedding_runtime.frontend.pipeline.options import Options
from embedding_runtime.frontend.pipeline.tokenization import Admit, Given, Tokenization
from embedding_runtime.model import ModelSpec, space
from embedding_runtime.model.tokenizer import TextTokenizer
from embedding_runtime.observability import tracing
from embedding_runtime.protocol.messages import VectorRows
from embedding_runtime.protocol.requests import Lane
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.scheduler.base import Scheduler, State

__all__ = ["Service"]


@dataclass(frozen=True)
class Service:
    """One served model."""

    name: str
    named_backend: BackendName
    """The value of --backend."""
    spec: ModelSpec
    tokenizer: TextTokenizer
    engine: Scheduler
    limits: Limits
    created: int
    """Start time of the server, in seconds since 1970."""
    aliases: tuple[str, ...] = ()
    """Other names of the model in requests."""

    @property
    def backend(self) -> str:
        """The backend that computes; while the model is loading, the value of --backend."""
        return self.named_backend if self.engine.model is None else self.engine.model.backend

    @cached_property
    def space(self) -> str:
        """See `model.space`. The first access reads files: call it in a thread."""
        return space.digest(self.spec)

    @property
    def tokenization(self) -> Tokenization:
        """The tokenization of this model. Raises NotReady while the model is loading: its tokenizer may change."""
        if self.engine.state is State.LOADING:
            raise NotReady(self.engine.reason)
        return self._tokenization

    @cached_property
    def _tokenization(self) -> Tokenization:
        seconds = self.engine.metrics.tokenization
        return Tokenization(
            self.name, lambda: self.backend, self.spec, self.tokenizer, limits=self.limits, seconds=seconds
        )

    def name_for(self, asked: str | None) -> str:
        """The model name for a response: the requested one, or the default. Raises UnknownModel."""
        if asked is None or asked == self.name:
            return self.name
        if asked not in self.aliases:
            raise UnknownModel(served=self.name)
        return asked

    # These are not coroutines, whose frames would hold the texts until the vectors are computed.

    def vectors(
        self, context: RequestContext, given: Given, options: Options, *, field: str = "input"
    ) -> Awaitable[tuple[VectorRows, int]]:
        """Compute one row per text. Returns the rows and the number of tokens. `field`: the field with the texts.

        The texts and the body are freed after tokenization. Raises BadRequest, InputTooLong, ClientGone,
        DeadlinePassed, and what `Scheduler.embed` raises.
        """
        tracing.annotate({"gen_ai.operation.name": "embeddings"})
        return while_wanted(context, partial(self._vectors, context, given, options, field))

    def scores(
        self,
        context: RequestContext,
        pairs: Sequence[str | tuple[str, str]],
        *,
        operation: str,
        field: str,
        truncate: bool | None = None,
    ) -> Awaitable[tuple[VectorRows, int]]:
        """Compute one row per pair, with a score per label after the activation, as CrossEncoder does.

        A single text is passed to the same head. Returns the rows and the number of tokens. `truncate`: whether
        long inputs are truncated; None: --truncate. `operation`: name of the operation in traces. Raises
        as `vectors` does.
        """
        tracing.annotate({"gen_ai.operation.name": operation})
        cuts = self.spec.truncate is not Truncate.OFF if truncate is None else truncate
        return while_wanted(context, partial(self._scores, context, pairs, field=field, truncate=cuts))

    async def tokenize(self, given: Given, options: Options, *, field: str = "input") -> TokenBatch:
        """See `Tokenization.texts`; without admission."""
        return await self.tokenization.texts(given, options, field=field)

    async def tokenize_pairs(
        self, pairs: Sequence[str | tuple[str, str]], *, truncate: bool = False, field: str = "documents"
    ) -> TokenBatch:
        """See `Tokenization.pairs`; without admission."""
        return await self.tokenization.pairs(pairs, truncate=truncate, field=field)

    async def _vectors(
        self, context: RequestContext, given: Given, options: Options, field: str
    ) -> tuple[VectorRows, int]:
        several = not isinstance(given, str) and given and not isinstance(given[0], int)
        number = len(given) if several else 1
        admit = self._admit(context, number)
        texts = await self.tokenization.texts(given, options, field=field, admit=admit, truncated=context.truncated)
        del given
        context.tokenized()
        await reserve(context, self._answer_size(texts), holding=texts.ids.nbytes)
        return options.finish(await self._embed(context, texts, field=field)), texts.tokens

    async def _scores(
        self, context: RequestContext, pairs: Sequence[str | tuple[str, str]], *, field: str, truncate: bool
    ) -> tuple[VectorRows, int]:
        admit = self._admit(context, len(pairs))
        texts = await self.tokenization.pairs(
            pairs, truncate=truncate, field=field, admit=admit, truncated=context.truncated
        )
        context.tokenized()
        await reserve(context, self._answer_size(texts), holding=texts.ids.nbytes)
        return await self._embed(context, texts, field=field), texts.tokens

    def _answer_size(self, texts: TokenBatch) -> int:
        """The size of the response in bytes."""
        one = BYTES_PER_NUMBER if self.spec.kind is Kind.EMBEDDING_MODEL else BYTES_PER_SCORE
        return len(texts) * self.spec.dimensions * one

    def _admit(self, context: RequestContext, texts: int) -> Admit:
        """A check of admission that is called during tokenization, with the tokens counted so far."""

        async def admit(tokens: int) -> None:
            await self.engine.check_admission(
                texts, tokens, context.principal, lane=context.lane, seconds=context.deadline.left
            )

        return admit

    async def _embed(self, context: RequestContext, texts: TokenBatch, *, field: str) -> VectorRows:
        """See `Scheduler.embed`. `field`: the field with the texts."""
        context.lane = context.lane or Lane.by_size(len(texts))
        context.texts += len(texts)
        context.tokens += texts.tokens
        # A body whose texts are kept is held to the end. The pool may drop it until then.
        held = waiting(context) if context.keeps_texts else nullcontext()
        with tracing.span("embed"):
            try:
                async with held:
                    return await self.engine.embed(
                        texts, context.principal, lane=context.lane, seconds=context.deadline.left
                    )
            except OneText as fault:
                raise type(fault)(index=fault.index, field=field) from fault
