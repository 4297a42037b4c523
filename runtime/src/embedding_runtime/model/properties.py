"""The properties of a model, and how flags change them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from embedding_runtime.contract import Dtype, Kind, Quantization, ServeArgs, Truncate
from embedding_runtime.model.body import Side
from embedding_runtime.model.chat_template import ChatTemplate
from embedding_runtime.model.files import ModelRefused
from embedding_runtime.model.head import Normalize, Pooling, Step
from embedding_runtime.model.matryoshka import sizes_of_flag
from embedding_runtime.model.scores import Scores
from embedding_runtime.model.splade import Splade
from embedding_runtime.model.token_heads import TokenHeads

__all__ = ["ModelProperties"]


@dataclass(frozen=True)
class ModelProperties:
    """What frontends and backends know of a model. `ModelSpec` reads them."""

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
