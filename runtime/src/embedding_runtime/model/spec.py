"""The whole of a model, as it is to be served."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from embedding_runtime.contract import MODEL_NOTE, TASKS, Dtype, Kind, Quantization, ServeArgs
from embedding_runtime.model import remote_code
from embedding_runtime.model.body import Body, Side, architecture_in, asked_of
from embedding_runtime.model.defaults import Defaults
from embedding_runtime.model.files import ModelRefused, number, object_in, object_or_nothing
from embedding_runtime.model.head import Cut, Head, Modules, Normalize, Pooling, Step
from embedding_runtime.model.scores import Scores, check_modules

__all__ = ["ModelSpec"]


@dataclass(frozen=True)
class ModelSpec:
    """One model; the same for the front, which tokenizes, and for every backend."""

    directory: Path
    """Of the transformer's files: config.json, weights, tokenizer."""
    pooling: tuple[Pooling, ...]
    """More than one: their vectors stand side by side, in this order. None: a cross-encoder."""
    include_prompt: bool
    """Whether the prompt's tokens are pooled with the text's."""
    steps: tuple[Step, ...]
    """What is done to the pooled vector, in this order."""
    dimensions: int
    """Numbers in a row that is served: of the vector that the steps give, or a cross-encoder's labels."""
    max_length: int
    """Longest input in tokens, special ones and the prompt's included; of a pair, both texts together."""
    vocabulary: int
    """Token ids are below this."""
    padding: int | None
    """The padding's token id, for models in which it shifts the positions of the tokens after it."""
    lower_case: bool
    """Lower-case the text before the tokenizer's own normalizer."""
    prompt: str
    """Stands before every text, before the first one of a pair; empty for most."""
    similarity: str
    """How two vectors are to be compared, in sentence-transformers' words; empty for a cross-encoder."""
    dtype: Dtype
    """Of the weights while they compute; never AUTO."""
    sizes: Sequence[int] = ()
    """To how many dimensions a request may have vectors cut, in rising order; empty: the model's files know none."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """By name, what a request may ask for instead of `prompt`."""
    cut_side: Side = Side.RIGHT
    """Where the tokenizer takes tokens away from a text that is too long."""
    revision: str | None = None
    """The commit that the initializer fetched, where it left a note of it."""
    assumed: tuple[str, ...] = ()
    """What the files do not say, in words: sentence-transformers' own defaults stand in."""
    remote_code: bool = False
    """Python code came with the model, and is run in place of transformers' own: the flags ask for it."""
    scores: Scores | None = None
    """What a cross-encoder gives for a pair; None for an embedding model."""
    files_dtype: Dtype = Dtype.FLOAT32
    """Of the weights in the model's files."""
    quantize: Quantization = Quantization.NONE
    """Of the linear layers' weights while they compute."""
    converted_tokenizer: Path | None = None
    """Where the worker writes a tokenizer.json that does what transformers does, if the model's own is missing or does
    something else. None: nowhere; such a model is refused."""

    @property
    def tokenizer_file(self) -> Path:
        """What texts are tokenized with; it may not be there yet."""
        converted = self.converted_tokenizer
        return self.directory / "tokenizer.json" if converted is None or not converted.is_file() else converted

    @classmethod
    def asked_for(cls, args: ServeArgs) -> Self:
        """As the flags ask for it. Raises ModelRefused."""
        directory = Path(args.model_dir)
        try:
            spec = cls.read(directory)
        except OSError as error:
            raise ModelRefused(f"{error.filename} cannot be read: {error.strerror}") from error
        right = [words[spec.kind] for words in TASKS[args.backend] if args.task in words.values()]
        if args.task not in (None, *right):
            raise ModelRefused(
                f"--task={args.task}: the model in {directory} is {_A[spec.kind]}, its files say; "
                f"write --task={right[0]}, or leave it out"
            )
        runs = args.trust_remote_code and remote_code.comes_with(spec.directory)
        limited = spec.limited(max_length=args.max_length, dtype=args.dtype, quantize=args.quantize)
        return replace(limited, remote_code=runs)

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Raises ModelRefused."""
        if not directory.is_dir():
            raise ModelRefused(f"{directory} is not a directory: there is no model in it")
        plain = not (directory / "modules.json").is_file()
        if plain and architecture_in(directory).endswith(_CLASSIFIER):
            _refuse_chat_template(directory)
            # Without a modules.json CrossEncoder reads none of sentence-transformers' own files.
            return cls._cross_encoder(directory, Body.read(directory, {}), prompt="", activation=None)
        defaults = Defaults.read(directory)
        if defaults.kind is Kind.CROSS_ENCODER:
            check_modules(directory)
            body = Body.read(directory, asked_of(directory, Kind.CROSS_ENCODER))
            return cls._cross_encoder(directory, body, prompt=defaults.prompt, activation=defaults.activation)
        if plain:
            transformer, body = directory, Body.read(directory, asked_of(directory, Kind.EMBEDDING_MODEL))
            head, assumed = _assumed(directory, body)
        else:
            modules = Modules.read(directory)
            transformer, assumed = modules.transformer, ()
            head, body = Head.read(modules.listed), Body.read(transformer, asked_of(transformer, Kind.EMBEDDING_MODEL))
            if body.architecture.endswith(_CLASSIFIER):
                raise ModelRefused(
                    f"{transformer / 'config.json'} says {body.architecture}: it scores texts (a cross-encoder), "
                    f"but {directory / 'modules.json'} makes embeddings of it"
                )
        dimensions, steps = head.dimensions, head.steps
        if defaults.keep is not None and defaults.keep < dimensions:
            dimensions, steps = defaults.keep, (*steps, Cut(defaults.keep))
        return cls(
            directory=transformer,
            pooling=head.pooling,
            include_prompt=head.include_prompt,
            steps=steps,
            dimensions=dimensions,
            sizes=body.sizes_below(dimensions),
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
        )

    @classmethod
    def _cross_encoder(cls, directory: Path, body: Body, *, prompt: str, activation: str | None) -> Self:
        scores, assumed = Scores.read(directory, activation)
        return cls(
            directory=directory,
            pooling=(),
            include_prompt=True,
            steps=(),
            dimensions=scores.labels,
            max_length=body.max_length,
            vocabulary=body.vocabulary,
            padding=body.padding,
            lower_case=body.lower_case,
            prompt=prompt,
            similarity="",
            dtype=body.dtype,
            files_dtype=body.dtype,
            revision=object_or_nothing(directory / MODEL_NOTE).get("revision"),
            assumed=assumed,
            scores=scores,
        )

    @property
    def kind(self) -> Kind:
        """What it gives."""
        return Kind.EMBEDDING_MODEL if self.scores is None else Kind.CROSS_ENCODER

    @property
    def normalized(self) -> bool:
        """Whether the vectors that are served have length 1."""
        return bool(self.steps) and isinstance(self.steps[-1], Normalize)

    @property
    def is_reduced(self) -> bool:
        """Whether the flags ask for less precision than the model's files have."""
        return self.quantize is not Quantization.NONE or self.dtype not in (Dtype.FLOAT32, self.files_dtype)

    def limited(self, *, max_length: int | None, dtype: Dtype, quantize: Quantization = Quantization.NONE) -> Self:
        """As the flags ask: a shorter longest input (None: as it is), another type (auto: as it is).

        What is quantized computes in float32 around the quantized layers, whatever the files say.

        Raises ModelRefused when the model cannot take inputs that long.
        """
        if max_length is not None and max_length > self.max_length:
            raise ModelRefused(
                f"--max_length={max_length} is more than the model in {self.directory} takes: {self.max_length} tokens"
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

_A = {Kind.EMBEDDING_MODEL: "an embedding model", Kind.CROSS_ENCODER: "a cross-encoder"}


def _refuse_chat_template(directory: Path) -> None:
    tokenizer = object_or_nothing(directory / "tokenizer_config.json")
    if tokenizer.get("chat_template") or (directory / "chat_template.jinja").is_file():
        raise ModelRefused(
            f"{directory} has a chat template and no modules.json: sentence-transformers would put every text through "
            "the template, which is not served; save the model with sentence-transformers, so that the files say how"
        )


def _assumed(directory: Path, body: Body) -> tuple[Head, tuple[str, ...]]:
    """As sentence-transformers takes a model that it has not saved."""
    _refuse_chat_template(directory)
    pooling = Pooling.LAST_TOKEN if body.causal else Pooling.MEAN
    why = f"{directory.name} has no modules.json, and {body.architecture or 'its architecture'} is "
    why += "a language model" if body.causal else "no language model"
    path = directory / "config.json"
    hidden = number(path, object_in(path), "hidden_size", "d_model", "dim", "n_embd")
    head = Head(pooling=(pooling,), include_prompt=True, steps=(), dimensions=hidden)
    return head, (f"pooling by {pooling}: {why}", "no normalization: there is no modules.json")
