"""What the routes need of the rest: the model as it is served, the way from texts to vectors."""

from collections.abc import Awaitable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial

from embedding_runtime.contract import BackendName, Kind
from embedding_runtime.errors import OneText, UnknownModel
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
from embedding_runtime.scheduler.base import Scheduler

__all__ = ["Service"]


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
    aliases: tuple[str, ...] = ()
    """Other names that requests may call the model by."""

    @cached_property
    def space(self) -> str:
        """As `modelspec.space`. Reads files, once: call it in a thread."""
        return space.digest(self.spec)

    @cached_property
    def tokenization(self) -> Tokenization:
        """Texts to token ids."""
        seconds = self.engine.metrics.tokenization
        return Tokenization(self.name, self.backend, self.spec, self.tokenizer, limits=self.limits, seconds=seconds)

    def name_for(self, asked: str | None) -> str:
        """The name that an answer has: the one that was asked for, else the model's own. Raises UnknownModel."""
        if asked is None or asked == self.name:
            return self.name
        if asked not in self.aliases:
            raise UnknownModel(served=self.name)
        return asked

    # No coroutines themselves: the frame of one would hold the texts until the vectors are there.

    def vectors(
        self, context: RequestContext, given: Given, options: Options, *, field: str = "input"
    ) -> Awaitable[tuple[VectorRows, int]]:
        """One row a text, as the options have it, and how many tokens that took. `field`: where the texts came in.

        The texts are dropped from the request once they are tokenized, and so is its body. Raises BadRequest,
        InputTooLong, ClientGone, DeadlinePassed, and what `Engine.embed` does.
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
        truncate: bool = False,
    ) -> Awaitable[tuple[VectorRows, int]]:
        """One row a pair, a score a label, as CrossEncoder gives them: after its activation. And how many tokens.

        A single text instead of a pair is given to the same head.

        `operation`: its name in traces; OpenTelemetry has none for it. Raises as `vectors` does.
        """
        tracing.annotate({"gen_ai.operation.name": operation})
        return while_wanted(context, partial(self._scores, context, pairs, field=field, truncate=truncate))

    async def tokenize(self, given: Given, options: Options, *, field: str = "input") -> TokenBatch:
        """As `Tokenization.texts`, of anybody."""
        return await self.tokenization.texts(given, options, field=field)

    async def tokenize_pairs(
        self, pairs: Sequence[str | tuple[str, str]], *, truncate: bool = False, field: str = "documents"
    ) -> TokenBatch:
        """As `Tokenization.pairs`, of anybody."""
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
        """Bytes."""
        one = BYTES_PER_NUMBER if self.spec.kind is Kind.EMBEDDING_MODEL else BYTES_PER_SCORE
        return len(texts) * self.spec.dimensions * one

    def _admit(self, context: RequestContext, texts: int) -> Admit:
        """What refuses a request that has turned out to have so many tokens, before all of them are known."""

        async def admit(tokens: int) -> None:
            await self.engine.check_admission(
                texts, tokens, context.principal, lane=context.lane, seconds=context.deadline.left
            )

        return admit

    async def _embed(self, context: RequestContext, texts: TokenBatch, *, field: str) -> VectorRows:
        """As `Scheduler.embed`. `field`: where the texts came in."""
        context.lane = context.lane or Lane.by_size(len(texts))
        context.texts += len(texts)
        context.tokens += texts.tokens
        # A body whose texts are kept is held to the end: it makes room for others until then.
        held = waiting(context) if context.keeps_texts else nullcontext()
        with tracing.span("embed"):
            try:
                async with held:
                    return await self.engine.embed(
                        texts, context.principal, lane=context.lane, seconds=context.deadline.left
                    )
            except OneText as fault:
                raise type(fault)(index=fault.index, field=field) from fault
