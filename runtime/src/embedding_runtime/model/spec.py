"""The specification of a model, from its files and flags."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from embedding_runtime.contract import MODEL_NOTE, TASKS, BackendName, Kind, ServeArgs
from embedding_runtime.model import remote_code
from embedding_runtime.model.body import Body, architecture_in, read_sentence_config
from embedding_runtime.model.chat_template import has_chat_template
from embedding_runtime.model.cross_encoder import Layout, refused_language_model
from embedding_runtime.model.defaults import Defaults
from embedding_runtime.model.files import ModelRefused, number, object_in, object_or_nothing
from embedding_runtime.model.head import Cut, Head, Modules, Normalize, Pooling, Step, read_steps
from embedding_runtime.model.matryoshka import read_sizes
from embedding_runtime.model.properties import ModelProperties
from embedding_runtime.model.scores import Scores
from embedding_runtime.model.splade import Splade
from embedding_runtime.model.static import MODEL2VEC, Static
from embedding_runtime.model.token_heads import TokenHeads

__all__ = ["ModelSpec"]


@dataclass(frozen=True)
class ModelSpec(ModelProperties):
    """The specification of a model: its properties, from its files and flags."""

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
        return replace(
            cls._with_vectors(directory, transformer, body, defaults, dimensions),
            custom_module=custom,
            pooling=head.pooling,
            include_prompt=head.include_prompt,
            steps=steps,
            hidden=head.hidden,
            sizes=sizes.below,
            sizes_source=sizes.source,
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
        return replace(
            cls._with_vectors(directory, where, body, defaults, body.vocabulary),
            splade=Splade.read(splade, defaults.max_active_dims),
        )

    @classmethod
    def _static(cls, directory: Path, where: Path, table: Static, steps: tuple[Step, ...]) -> Self:
        """`where`: directory of the table."""
        defaults = Defaults.read(directory)
        dimensions, steps = _kept(defaults, table.dimensions, steps)
        sizes = read_sizes(directory, where, dimensions)
        return replace(
            cls._with_vectors(directory, where, table.body, defaults, dimensions),
            pooling=(Pooling.MEAN,),
            steps=steps,
            hidden=table.dimensions,
            sizes=sizes.below,
            sizes_source=sizes.source,
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
        return replace(
            cls._of(directory, directory, body, scores.labels),
            pooling=() if head is None else head.pooling,
            steps=() if head is None else head.steps,
            prompt=prompt,
            assumed=assumed,
            scores=scores,
            chat=layout.chat,
        )

    @classmethod
    def _with_vectors(cls, directory: Path, where: Path, body: Body, defaults: Defaults, dimensions: int) -> Self:
        """The properties of every model that returns vectors. See `_of`."""
        return replace(
            cls._of(directory, where, body, dimensions),
            prompt=defaults.prompt,
            prompts=defaults.prompts,
            similarity=defaults.similarity,
        )

    @classmethod
    def _of(cls, directory: Path, where: Path, body: Body, dimensions: int) -> Self:
        """The properties of every model. `where`: directory of the weights."""
        return cls(
            directory=where,
            root=directory,
            pooling=(),
            include_prompt=True,
            steps=(),
            dimensions=dimensions,
            max_length=body.max_length,
            vocabulary=body.vocabulary,
            padding=body.padding,
            lower_case=body.lower_case,
            prompt="",
            similarity="",
            dtype=body.dtype,
            cut_side=body.cut_side,
            revision=object_or_nothing(directory / MODEL_NOTE).get("revision"),
            files_dtype=body.dtype,
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
