"""The whole of a model, as it is to be served."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from embedding_runtime.contract import MODEL_NOTE, Dtype
from embedding_runtime.modelspec.body import Body, Side
from embedding_runtime.modelspec.defaults import Defaults
from embedding_runtime.modelspec.files import ModelRefused, number, object_in, object_or_nothing
from embedding_runtime.modelspec.head import Cut, Head, Modules, Normalize, Pooling, Step

__all__ = ["ModelSpec"]


@dataclass(frozen=True)
class ModelSpec:
    """One model; the same for the front, which tokenizes, and for every backend."""

    directory: Path
    """Of the transformer's files: config.json, weights, tokenizer."""
    pooling: tuple[Pooling, ...]
    """More than one: their vectors stand side by side, in this order."""
    include_prompt: bool
    """Whether the prompt's tokens are pooled with the text's."""
    steps: tuple[Step, ...]
    """What is done to the pooled vector, in this order."""
    dimensions: int
    """Of what the steps give: the vectors that are served."""
    sizes: Sequence[int]
    """To how many dimensions a request may have vectors cut, in rising order; empty: the model's files know none."""
    max_length: int
    """Longest input in tokens, special ones and the prompt's included."""
    vocabulary: int
    """Token ids are below this."""
    padding: int | None
    """The padding's token id, for models in which it shifts the positions of the tokens after it."""
    cut_side: Side
    """Where the tokenizer takes tokens away from a text that is too long."""
    lower_case: bool
    """Lower-case the text before the tokenizer's own normalizer."""
    prompt: str
    """Stands before every text; empty for most."""
    prompts: Mapping[str, str]
    """By name, what a request may ask for instead."""
    similarity: str
    """How two vectors are to be compared, in sentence-transformers' words."""
    dtype: Dtype
    """Of the weights while they compute; never AUTO."""
    revision: str | None = None
    """The commit that the initializer fetched, where it left a note of it."""
    assumed: tuple[str, ...] = ()
    """What the files do not say, in words: sentence-transformers' own defaults stand in."""

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Raises ModelRefused."""
        if not directory.is_dir():
            raise ModelRefused(f"{directory} is not a directory: there is no model in it")
        defaults = Defaults.read(directory)
        if (directory / "modules.json").is_file():
            modules = Modules.read(directory)
            transformer = modules.transformer
            head, body = Head.read(modules.listed), Body.read(transformer)
            assumed: tuple[str, ...] = ()
        else:
            transformer, body = directory, Body.read(directory)
            head, assumed = _assumed(directory, body)
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
            revision=object_or_nothing(directory / MODEL_NOTE).get("revision"),
            assumed=assumed,
        )

    @property
    def normalized(self) -> bool:
        """Whether the vectors that are served have length 1."""
        return bool(self.steps) and isinstance(self.steps[-1], Normalize)

    def limited(self, *, max_length: int | None, dtype: Dtype) -> Self:
        """As the flags ask: a shorter longest input (None: as it is), another type (auto: as it is).

        Raises ModelRefused when the model cannot take inputs that long.
        """
        if max_length is not None and max_length > self.max_length:
            raise ModelRefused(
                f"--max_length={max_length} is more than the model in {self.directory} takes: {self.max_length} tokens"
            )
        return replace(
            self,
            max_length=self.max_length if max_length is None else max_length,
            dtype=self.dtype if dtype is Dtype.AUTO else dtype,
        )


def _assumed(directory: Path, body: Body) -> tuple[Head, tuple[str, ...]]:
    """As sentence-transformers takes a model that it has not saved."""
    tokenizer = object_or_nothing(directory / "tokenizer_config.json")
    if tokenizer.get("chat_template") or (directory / "chat_template.jinja").is_file():
        raise ModelRefused(
            f"{directory} has a chat template and no modules.json: sentence-transformers would put every text through "
            "the template, which is not served; save the model with sentence-transformers, Transformer + Pooling"
        )
    pooling = Pooling.LAST_TOKEN if body.causal else Pooling.MEAN
    why = f"{directory.name} has no modules.json, and {body.architecture or 'its architecture'} is "
    why += "a language model" if body.causal else "no language model"
    path = directory / "config.json"
    hidden = number(path, object_in(path), "hidden_size", "d_model", "dim", "n_embd")
    head = Head(pooling=(pooling,), include_prompt=True, steps=(), dimensions=hidden)
    return head, (f"pooling by {pooling}: {why}", "no normalization: there is no modules.json")
