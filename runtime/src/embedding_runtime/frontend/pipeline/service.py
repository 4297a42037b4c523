"""The service that routes call: the served model, and the pipeline from texts to vectors."""

from collections.abc import Awaitable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial

from embedding_runtime.contract import BackendName, Kind, Truncate
from embedding_runtime.errors import NotReady, OneText, UnknownModel, UnsupportedTask
from embedding_runtime.frontend.context import RequestContext
from embedding_runtime.frontend.limits import Limits
from embedding_runtime.frontend.pipeline.answer_sizes import (
    check_size,
    dense_size,
    output_size,
    sparse_size,
    unfinished_sparse_size,
)
from embedding_runtime.frontend.pipeline.computing import reserve, waiting, while_wanted
from embedding_runtime.frontend.pipeline.options import Options
from embedding_runtime.frontend.pipeline.token_budget import Admit
from embedding_runtime.frontend.pipeline.tokenization import Given, Tokenization
from embedding_runtime.model import ModelSpec, space
from embedding_runtime.model.tokenizer import TextTokenizer
from embedding_runtime.observability import tracing
from embedding_runtime.protocol.requests import Lane, Output
from embedding_runtime.protocol.rows import RaggedRows, Rows, VectorRows, as_dense, as_ragged, parts_of
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

    @property
    def outputs(self) -> Sequence[str]:
        """The outputs that a request may ask for: those of the model, without those that vllm does not compute."""
        return self.spec.outputs[:1] if self.backend == BackendName.VLLM else self.spec.outputs

    @property
    def withheld(self) -> str:
        """Why outputs of the model are not offered; empty if all are."""
        if self.outputs != self.spec.outputs:
            return "vllm computes dense vectors only; use a server with --backend=huggingface"
        return self.spec.token_heads.withheld

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

    def name_for(self, requested: str | None) -> str:
        """The model name for a response: the requested one, or the default. Raises UnknownModel."""
        if requested is None or requested == self.name:
            return self.name
        if requested not in self.aliases:
            raise UnknownModel(served=self.name)
        return requested

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

    def sparse_vectors(
        self, context: RequestContext, given: Given, options: Options, *, field: str
    ) -> Awaitable[tuple[RaggedRows, int]]:
        """Same as `vectors`, with a sparse vector for each text: of a sparse encoder, or BGE-M3's."""
        if self.spec.kind is Kind.SPARSE_ENCODER:
            tracing.annotate({"gen_ai.operation.name": "embeddings"})
            return while_wanted(context, partial(self._sparse_vectors, context, given, options, field))
        return _only(self.several(context, given, options, Output.SPARSE, field=field))

    def token_vectors(
        self, context: RequestContext, given: Given, options: Options, *, field: str
    ) -> Awaitable[tuple[RaggedRows, int]]:
        """Same as `vectors`, with a row for each token instead of one for each text: its hidden state, before pooling.

        Raises UnsupportedTask if the backend does not support it.
        """
        return _only(self.several(context, given, options, Output.PER_TOKEN, field=field))

    def several(
        self, context: RequestContext, given: Given, options: Options, output: Output, *, field: str = "input"
    ) -> Awaitable[tuple[Mapping[Output, Rows], int]]:
        """Same as `vectors`, for each of several outputs, which one forward pass computes.

        `options` apply to Output.PER_TEXT. Raises UnsupportedTask if the backend does not support an output.
        """
        if output is not Output.PER_TEXT and self.backend == BackendName.VLLM:
            raise UnsupportedTask(
                f"{self.name} is served by vllm, which returns one vector for each text: use a server with "
                "--backend=huggingface for sparse vectors and vectors of tokens"
            )
        tracing.annotate({"gen_ai.operation.name": "embeddings"})
        return while_wanted(context, partial(self._several, context, given, options, output, field))

    def scores(
        self,
        context: RequestContext,
        pairs: Sequence[str | tuple[str, str]],
        *,
        operation: str,
        field: str,
        truncate: bool | None = None,
        instruction: str | None = None,
        raw: bool = False,
    ) -> Awaitable[tuple[VectorRows, int]]:
        """Compute one row per pair, with a score per label after the activation, as CrossEncoder does.

        A single text is passed to the same head. Returns the rows and the number of tokens. `truncate`: whether
        long inputs are truncated; None: --truncate. `operation`: name of the operation in traces. `instruction`: for a
        model with a chat template. `raw`: before the activation. Raises as `vectors` does.
        """
        tracing.annotate({"gen_ai.operation.name": operation})
        cuts = self.spec.truncate is not Truncate.OFF if truncate is None else truncate
        output = Output.LOGITS if raw else Output.PER_TEXT
        work = partial(self._scores, context, pairs, output, field=field, truncate=cuts, instruction=instruction)
        return while_wanted(context, work)

    async def _vectors(
        self, context: RequestContext, given: Given, options: Options, field: str
    ) -> tuple[VectorRows, int]:
        work = self._tokenized(context, given, options, field)
        del given
        texts = await work
        await reserve(context, dense_size(self.spec, texts), holding=texts.ids.nbytes)
        return options.finish(as_dense(await self._embed(context, texts, field=field))), texts.tokens

    async def _sparse_vectors(
        self, context: RequestContext, given: Given, options: Options, field: str
    ) -> tuple[RaggedRows, int]:
        work = self._tokenized(context, given, options, field)
        del given
        texts = await work
        await reserve(context, unfinished_sparse_size(self.spec, texts), holding=texts.ids.nbytes)
        rows = as_ragged(await self._embed(context, texts, field=field))
        # The number of weights is known only now. Usually even their JSON is smaller than what is reserved.
        size = sparse_size(rows)
        check_size(size, field)
        await reserve(context, size, holding=2 * rows.values.nbytes)
        return rows, texts.tokens

    async def _several(
        self, context: RequestContext, given: Given, options: Options, output: Output, field: str
    ) -> tuple[Mapping[Output, Rows], int]:
        work = self._tokenized(context, given, options, field)
        del given
        texts = await work
        size = sum(output_size(self.spec, texts, each) for each in output)
        check_size(size, field)
        await reserve(context, size, holding=texts.ids.nbytes)
        rows = parts_of(await self._embed(context, texts, field=field, output=output))
        found: dict[Output, Rows] = dict(zip(output, rows, strict=True))
        if Output.PER_TEXT in found:
            found[Output.PER_TEXT] = options.finish(as_dense(found[Output.PER_TEXT]))
        return found, texts.tokens

    async def _tokenized(self, context: RequestContext, given: Given, options: Options, field: str) -> TokenBatch:
        """Tokenize texts. Callers delete theirs before they wait for this, so that the texts are freed afterwards."""
        several = not isinstance(given, str) and given and not isinstance(given[0], int)
        number = len(given) if several else 1
        admit = self._admit(context, number)
        texts = await self.tokenization.texts(given, options, field=field, admit=admit, truncated=context.truncated)
        del given
        context.tokenized()
        return texts

    async def _scores(
        self,
        context: RequestContext,
        pairs: Sequence[str | tuple[str, str]],
        output: Output,
        *,
        field: str,
        truncate: bool,
        instruction: str | None,
    ) -> tuple[VectorRows, int]:
        texts = await self.tokenization.pairs(
            pairs,
            truncate=truncate,
            field=field,
            instruction=instruction,
            admit=self._admit(context, len(pairs)),
            truncated=context.truncated,
        )
        context.tokenized()
        await reserve(context, dense_size(self.spec, texts), holding=texts.ids.nbytes)
        return as_dense(await self._embed(context, texts, field=field, output=output)), texts.tokens

    def _admit(self, context: RequestContext, texts: int) -> Admit:
        """A check of admission that is called during tokenization, with the tokens counted so far."""

        async def admit(tokens: int) -> None:
            await self.engine.check_admission(
                texts, tokens, context.principal, lane=context.lane, seconds=context.deadline.left
            )

        return admit

    async def _embed(
        self, context: RequestContext, texts: TokenBatch, *, field: str, output: Output = Output.PER_TEXT
    ) -> Rows:
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
                        texts, context.principal, lane=context.lane, seconds=context.deadline.left, output=output
                    )
            except OneText as fault:
                raise type(fault)(index=fault.index, field=field) from fault


async def _only(outputs: Awaitable[tuple[Mapping[Output, Rows], int]]) -> tuple[RaggedRows, int]:
    """The rows of a request with one output, which are ragged."""
    found, tokens = await outputs
    (rows,) = found.values()
    return as_ragged(rows), tokens
