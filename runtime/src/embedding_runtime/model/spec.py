"""The specification of a model, from its files and flags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from embedding_runtime.contract import MODEL_NOTE, TASKS, BackendName, Dtype, Kind, Quantization, ServeArgs, Truncate
from embedding_runtime.model import remote_code
from embedding_runtime.model.body import Body, Side, architecture_in, read_sentence_config
from embedding_runtime.model.chat_template import ChatTemplate, has_chat_template
from embedding_runtime.model.cross_encoder import Layout, refused_language_model
from embedding_runtime.model.defaults import Defaults
from embedding_runtime.model.files import ModelRefused, number, object_in, object_or_nothing
from embedding_runtime.model.head import Cut, Head, Modules, Normalize, Pooling, Step, read_steps
from embedding_runtime.model.matryoshka import read_sizes, sizes_of_flag
from embedding_runtime.model.scores import Scores
from embedding_runtime.model.splade import Splade
from embedding_runtime.model.static import MODEL2VEC, Static
from embedding_runtime.model.token_heads import TokenHeads

__all__ = ["ModelSpec"]


@dataclass(frozen=True)
class ModelSpec:
    """The specification of a model, for frontends and backends."""

    directory: Path
    """Directory of the transformer's files: config.json, weights, tokenizer."""
    root: Path
    """Directory of the model: that of modules.json, if there is one."""
    pooling: tuple[Pooling, ...]
    """Several poolings are concatenated in this order. Empty for sparse encoders and nearly all cross-encoders."""
    include_prompt: bool
    """Whether pooling includes the tokens of the prompt."""
    steps: tuple[Step, ...]
    """Steps after pooling, in order."""
    dimensions: int
    """Size of a row: dimensions of a vector (of a sparse one, too), or number of labels of a cross-encoder."""
    max_length: int
    """Longest input in tokens, including special tokens and the prompt; for a pair, of both texts."""
    vocabulary: int
    """Number of token ids."""
    padding: int | None
    """Id of the padding token, for models in which it shifts positions."""
    lower_case: bool
    """Whether texts are lower-cased before the tokenizer's normalizer."""
    prompt: str
    """Put before every text, or before the first text of a pair; empty for most models."""
    similarity: str
    """Similarity of two vectors, with sentence-transformers' names; empty for a cross-encoder."""
    dtype: Dtype
    """Type of the weights in memory; never AUTO."""
    sizes: Sequence[int] = ()
    """Sizes to which a request may truncate vectors, in ascending order; empty if there are none."""
    sizes_source: str = ""
    """Source of `sizes`: a flag, config.json, or the address of the model's card; empty if there are none."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """Other prompts by name."""
    cut_side: Side = Side.RIGHT
    """Side at which the tokenizer truncates."""
    truncate: Truncate = Truncate.OFF
    """End at which long texts are truncated by default."""
    revision: str | None = None
    """The commit that the initializer downloaded, if it is known."""
    assumed: tuple[str, ...] = ()
    """Descriptions of the defaults that are used because the files do not say."""
    remote_code: bool = False
    """Whether to run Python code that comes with the model instead of transformers' own."""
    custom_module: str | None = None
    """Class of the model's own code that computes token vectors in place of sentence-transformers' Transformer."""
    scores: Scores | None = None
    """The head of a cross-encoder; None for other kinds."""
    chat: ChatTemplate | None = None
    """The template around the pairs of a cross-encoder; None: the tokenizer joins the two texts."""
    splade: Splade | None = None
    """The head of a sparse encoder; None for other kinds."""
    static: bool = False
    """Whether vectors are looked up in a table (StaticEmbedding, model2vec), so that there is no transformer."""
    token_heads: TokenHeads = field(default_factory=TokenHeads)
    """BGE-M3's layers for other outputs than the vector of a text."""
    hidden: int = 0
    """Size of a token's vector; 0 for cross-encoders and sparse encoders, which have no such output."""
    files_dtype: Dtype = Dtype.FLOAT32
    """Type of the weights in the model's files."""
    quantize: Quantization = Quantization.NONE
    """Quantization of linear layers."""
    converted_tokenizer: Path | None = None
    """Path at which the worker creates a tokenizer.json if the model has none, or one that transformers changes when it
    loads it. None: such a model is refused."""

    @property
    def tokenizer_file(self) -> Path:
        """The tokenizer.json to use, which may not exist yet."""
        converted = self.converted_tokenizer
        return self.directory / "tokenizer.json" if converted is None or not converted.is_file() else converted

    @classmethod
    def from_args(cls, args: ServeArgs) -> Self:
        """Read the model of the flags, with their changes. Raises ModelRefused."""
        directory = Path(args.model_dir)
        try:
            spec = cls.read(directory, trust_remote_code=args.trust_remote_code)
            runs = remote_code.may_run(directory, trusted=args.trust_remote_code)
        except OSError as error:
            raise ModelRefused(f"{error.filename} cannot be read: {error.strerror}") from error
        right = [words[spec.kind] for words in TASKS[args.backend] if args.task in words.values()]
        if args.task not in (None, *right):
            is_plain = not (directory / "modules.json").is_file()
            if args.task in _SCORING and is_plain and architecture_in(directory).endswith("ForCausalLM"):
                raise refused_language_model(directory)
            raise ModelRefused(
                f"--task={args.task} does not match the model in {directory}, which is {_NAMES[spec.kind]}: "
                f"use --task={right[0]}, or remove --task"
            )
        limited = spec.limited(max_length=args.max_length, dtype=args.dtype, quantize=args.quantize)
        heads = spec.token_heads.allowed(allow_pickle=args.allow_pickle)
        return replace(limited.offered(args), remote_code=runs, token_heads=heads)

    @classmethod
    def read(cls, directory: Path, *, trust_remote_code: bool = False) -> Self:
        """Read a model from its directory. Raises ModelRefused.

        `trust_remote_code`: whether modules.json may name a class of the model's own code.
        """
        if not directory.is_dir():
            raise ModelRefused(f"--model_dir={directory} is not a directory")
        plain = not (directory / "modules.json").is_file()
        if plain and (other := cls._plain_of_other_kind(directory)) is not None:
            return other
        defaults = Defaults.read(directory)
        if defaults.kind is Kind.CROSS_ENCODER:
            layout = Layout.read(directory)
            return cls._cross_encoder(directory, layout, prompt=defaults.prompt, activation=defaults.activation)
        if plain:
            transformer, body = directory, Body.read(directory, read_sentence_config(directory, Kind.EMBEDDING_MODEL))
            head, assumed = _assumed(directory, body)
            custom = None
        else:
            modules = Modules.read(directory, trust_remote_code=trust_remote_code)
            if modules.splade is not None:
                return cls._sparse_encoder(directory, modules, modules.splade, defaults)
            if modules.static:
                where = modules.transformer
                return cls._static(directory, where, Static.read(where), read_steps(modules.listed))
            transformer, assumed, custom = modules.transformer, (), modules.custom
            head = Head.read(modules.listed)
            kind = Kind.EMBEDDING_MODEL
            body = Body.read(transformer, read_sentence_config(transformer, kind, has_own_module=custom is not None))
            if body.architecture.endswith(_CLASSIFIER):
                raise ModelRefused(
                    f"{transformer / 'config.json'} has {body.architecture}, which is a cross-encoder, but "
                    f"{directory / 'modules.json'} describes an embedding model"
                )
        if defaults.kind is Kind.SPARSE_ENCODER:
            raise ModelRefused(
                f"{directory / 'config_sentence_transformers.json'} has model_type SparseEncoder, of which only "
                "MLMTransformer + SpladePooling is supported, but modules.json does not have them"
            )
        dimensions, steps = _kept(defaults, head.dimensions, head.steps)
        sizes = read_sizes(directory, transformer, dimensions)
        return cls(
            directory=transformer,
            root=directory,
            custom_module=custom,
            pooling=head.pooling,
            include_prompt=head.include_prompt,
            steps=steps,
            dimensions=dimensions,
            hidden=head.hidden,
            sizes=sizes.below,
            sizes_source=sizes.source,
            max_length=body.max_length,
            vocabulary=body.vocabulary,
            padding=body.padding,
            cut_side=body.cut_side,
            lower_case=body.lower_case,
            prompt=defaults.prompt,
            prompts=defaults.prompts,
            similarity=defaults.similarity,
            dtype=body.dtype,
            files_dtype=body.dtype,
            revision=object_or_nothing(directory / MODEL_NOTE).get("revision"),
            assumed=assumed,
            token_heads=TokenHeads.read(directory),
        )

    @classmethod
    def _plain_of_other_kind(cls, directory: Path) -> Self | None:
        """A model without modules.json that is no embedding model of transformers."""
        if object_or_nothing(directory / "config.json").get("model_type") == MODEL2VEC:
            table, normalized = Static.read_model2vec(directory)
            return cls._static(directory, directory, table, (Normalize(),) if normalized else ())
        if (layout := Layout.plain(directory)) is not None:
            # Without modules.json, CrossEncoder ignores the files of sentence-transformers.
            return cls._cross_encoder(directory, layout, prompt="", activation=None)
        return None

    @classmethod
    def _sparse_encoder(cls, directory: Path, modules: Modules, splade: Path, defaults: Defaults) -> Self:
        where = modules.transformer
        settings = read_sentence_config(where, Kind.SPARSE_ENCODER, default_task=modules.default_task)
        body = Body.read(where, settings)
        return cls(
            directory=where,
            root=directory,
            pooling=(),
            include_prompt=True,
            steps=(),
            dimensions=body.vocabulary,
            max_length=body.max_length,
            vocabulary=body.vocabulary,
            padding=body.padding,
            cut_side=body.cut_side,
            lower_case=body.lower_case,
            prompt=defaults.prompt,
            prompts=defaults.prompts,
            similarity=defaults.similarity,
            dtype=body.dtype,
            files_dtype=body.dtype,
            revision=object_or_nothing(directory / MODEL_NOTE).get("revision"),
            splade=Splade.read(splade, defaults.max_active_dims),
        )

    @classmethod
    def _static(cls, directory: Path, where: Path, table: Static, steps: tuple[Step, ...]) -> Self:
        """`where`: directory of the table."""
        defaults = Defaults.read(directory)
        dimensions, steps = _kept(defaults, table.dimensions, steps)
        sizes = read_sizes(directory, where, dimensions)
        return cls(
            directory=where,
            root=directory,
            pooling=(Pooling.MEAN,),
            include_prompt=True,
            steps=steps,
            dimensions=dimensions,
            hidden=table.dimensions,
            sizes=sizes.below,
            sizes_source=sizes.source,
            max_length=table.max_length,
            vocabulary=table.vocabulary,
            padding=None,
            cut_side=Side.LEFT if table.cuts_left else Side.RIGHT,
            lower_case=False,
            prompt=defaults.prompt,
            prompts=defaults.prompts,
            similarity=defaults.similarity,
            dtype=Dtype.FLOAT32,
            revision=object_or_nothing(directory / MODEL_NOTE).get("revision"),
            static=True,
        )

    @classmethod
    def _cross_encoder(cls, directory: Path, layout: Layout, *, prompt: str, activation: str | None) -> Self:
        body, head = Body.read(directory, layout.settings), layout.head
        if layout.chat is not None and prompt:
            layout.chat.check(directory, prompt)
        outputs = None if head is None else head.dimensions
        scores, assumed = Scores.read(directory, activation, tokens=layout.tokens, outputs=outputs)
        if layout.tokens is not None and isinstance(layout.tokens.true, str):
            why = f"{directory.name} has no modules.json, and its chat template has the roles query and document"
            assumed = (*assumed, f"scores by the tokens {layout.tokens.true} and {layout.tokens.false}: {why}")
        return cls(
            directory=directory,
            root=directory,
            pooling=() if head is None else head.pooling,
            include_prompt=True,
            steps=() if head is None else head.steps,
            dimensions=scores.labels,
            max_length=body.max_length,
            vocabulary=body.vocabulary,
            padding=body.padding,
            cut_side=body.cut_side,
            lower_case=body.lower_case,
            prompt=prompt,
            similarity="",
            dtype=body.dtype,
            files_dtype=body.dtype,
            revision=object_or_nothing(directory / MODEL_NOTE).get("revision"),
            assumed=assumed,
            scores=scores,
            chat=layout.chat,
        )

    @property
    def kind(self) -> Kind:
        """The kind of the model."""
        if self.scores is not None:
            return Kind.CROSS_ENCODER
        return Kind.EMBEDDING_MODEL if self.splade is None else Kind.SPARSE_ENCODER

    @property
    def outputs(self) -> Sequence[str]:
        """The outputs that a request may ask for: dense, sparse, colbert. A cross-encoder has none of them."""
        own = {Kind.EMBEDDING_MODEL: ("dense",), Kind.SPARSE_ENCODER: ("sparse",), Kind.CROSS_ENCODER: ()}
        return (*own[self.kind], *self.token_heads.files)

    @property
    def pooling_name(self) -> str:
        """The pooling, for users: several are joined by +; splade for a sparse encoder, empty for a cross-encoder."""
        return "+".join(self.pooling) if self.splade is None else "splade"

    @property
    def normalized(self) -> bool:
        """Whether vectors have length 1."""
        return bool(self.steps) and isinstance(self.steps[-1], Normalize)

    @property
    def is_reduced(self) -> bool:
        """Whether flags select less precision than the model's files have."""
        return self.quantize is not Quantization.NONE or self.dtype not in (Dtype.FLOAT32, self.files_dtype)

    def offered(self, args: ServeArgs) -> Self:
        """Apply the flags of options that requests may override: sizes of vectors and truncation.

        Raises ModelRefused.
        """
        if self.kind is Kind.CROSS_ENCODER:
            if args.matryoshka:
                raise ModelRefused(
                    f"--matryoshka: the model in {self.directory} returns scores, not vectors; remove the flag"
                )
            if args.truncate is Truncate.START:
                raise ModelRefused(
                    f"--truncate=start: the model in {self.directory} scores pairs, which are truncated at their end, "
                    "as in CrossEncoder; use --truncate=end, or remove the flag"
                )
        if self.kind is Kind.SPARSE_ENCODER and args.matryoshka:
            raise ModelRefused(
                f"--matryoshka: the model in {self.directory} returns sparse vectors, which cannot be truncated; "
                "remove the flag"
            )
        spec = replace(self, truncate=args.truncate)
        if not args.matryoshka:
            return spec
        sizes = sizes_of_flag(args.matryoshka, self.dimensions)
        return replace(spec, sizes=sizes.below, sizes_source=sizes.source)

    def limited(self, *, max_length: int | None, dtype: Dtype, quantize: Quantization = Quantization.NONE) -> Self:
        """Apply flags: a lower maximum length (None: unchanged), another type (auto: unchanged), quantization.

        With quantization, the other layers compute in float32. Raises ModelRefused if `max_length` is too large.
        """
        if max_length is not None and max_length > self.max_length:
            raise ModelRefused(
                f"--max_length={max_length} exceeds the {self.max_length} tokens of the model in {self.directory}: "
                "use a smaller number, or remove the flag"
            )
        if quantize is not Quantization.NONE and self.kind is Kind.SPARSE_ENCODER:
            raise ModelRefused(
                f"--quantize={quantize} is not supported for the sparse encoder in {self.directory}: remove the flag"
            )
        if self.static and (dtype not in (Dtype.AUTO, Dtype.FLOAT32) or quantize is not Quantization.NONE):
            flag = f"--dtype={dtype}" if quantize is Quantization.NONE else f"--quantize={quantize}"
            raise ModelRefused(
                f"{flag} is not supported for the static model in {self.directory}, whose vectors are averaged in "
                "float32: remove the flag"
            )
        if dtype is Dtype.AUTO:
            dtype = self.dtype if quantize is Quantization.NONE else Dtype.FLOAT32
        return replace(
            self,
            max_length=self.max_length if max_length is None else max_length,
            dtype=dtype,
            quantize=quantize,
        )


_CLASSIFIER = "ForSequenceClassification"

_SCORING = [words[Kind.CROSS_ENCODER] for words in TASKS[BackendName.AUTO]]
"""Values of --task for cross-encoders."""

_NAMES = {
    Kind.EMBEDDING_MODEL: "an embedding model",
    Kind.CROSS_ENCODER: "a cross-encoder",
    Kind.SPARSE_ENCODER: "a sparse encoder",
}


def _kept(defaults: Defaults, dimensions: int, steps: tuple[Step, ...]) -> tuple[int, tuple[Step, ...]]:
    """Dimensions and steps with those that truncate_dim keeps."""
    if defaults.keep is None or defaults.keep >= dimensions:
        return dimensions, steps
    return defaults.keep, (*steps, Cut(defaults.keep))


def _assumed(directory: Path, body: Body) -> tuple[Head, tuple[str, ...]]:
    """The head and assumptions of a plain transformers model, as in sentence-transformers."""
    if has_chat_template(directory):
        raise ModelRefused(
            f"{directory} has a chat template and no modules.json: sentence-transformers would apply the template to "
            "every text, which is not supported; save the model with sentence-transformers to define its modules, and "
            "a reranker as Transformer + LogitScore, with a chat template for the roles query and document"
        )
    pooling = Pooling.LAST_TOKEN if body.causal else Pooling.MEAN
    why = f"{directory.name} has no modules.json, and {body.architecture or 'its architecture'} is "
    why += "a language model" if body.causal else "not a language model"
    path = directory / "config.json"
    hidden = number(path, object_in(path), "hidden_size", "d_model", "dim", "n_embd")
    head = Head(pooling=(pooling,), include_prompt=True, steps=(), dimensions=hidden, hidden=hidden)
    return head, (f"pooling by {pooling}: {why}", "no normalization: the model has no modules.json")
