"""Reads what makes the score of a pair in a cross-encoder: its modules, and the chat template around the pair."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from embedding_runtime.contract import Kind
from embedding_runtime.model.body import architecture_in, read_sentence_config
from embedding_runtime.model.chat_template import ChatTemplate, has_chat_template, is_for_pairs
from embedding_runtime.model.files import ModelRefused, number, object_in
from embedding_runtime.model.head import Head, modules_in
from embedding_runtime.model.other_kinds import refused_modules
from embedding_runtime.model.scores import ScoreTokens

__all__ = ["Layout", "refused_language_model"]


@dataclass(frozen=True)
class Layout:
    """The modules of a cross-encoder, as CrossEncoder loads them."""

    settings: Mapping[str, Any]
    """The result of `read_sentence_config`."""
    chat: ChatTemplate | None
    """The template around a pair; None: the tokenizer joins the two texts."""
    tokens: ScoreTokens | None = None
    """Tokens of a language model whose logits are the score."""
    head: Head | None = None
    """Pooling and the layer that computes the scores; None for a language model or a classification head."""

    @classmethod
    def plain(cls, directory: Path) -> Self | None:
        """The layout of a transformers model without modules.json; None if it is no cross-encoder.

        A language model is one if its chat template renders a query and a document. CrossEncoder then reads the tokens
        yes and no. Raises ModelRefused.
        """
        architecture = architecture_in(directory)
        if architecture.endswith("ForSequenceClassification"):
            return cls({}, ChatTemplate.read(directory) if has_chat_template(directory) else None)
        if not architecture.endswith("ForCausalLM"):
            return None
        if is_for_pairs(directory):
            return cls({}, ChatTemplate.read(directory), ScoreTokens("yes", "no"))
        if _card_says_reranker(directory):
            raise refused_language_model(directory)
        return None

    @classmethod
    def read(cls, directory: Path) -> Self:
        """The layout in modules.json. Raises ModelRefused."""
        modules = modules_in(directory)
        kinds = [kind for kind, _ in modules]
        names = tuple(kind.rpartition(".")[2] for kind in kinds)
        official = all(kind.startswith("sentence_transformers.") for kind in kinds)
        if not official or names not in _TASKS or modules[0][1] != directory:
            rule = "a cross-encoder must have one Transformer with a classification head, a Transformer and LogitScore"
            raise refused_modules(directory / "modules.json", kinds, f"{rule}, or a Transformer, Pooling and Dense")
        settings = read_sentence_config(directory, Kind.CROSS_ENCODER, task=_TASKS[names])
        chat, tokens, head = None, None, None
        if "message" in settings:
            form, arguments = settings["message"].get("format", "auto"), settings["chat_template"]
            chat = ChatTemplate.read(directory, form=form, arguments=arguments)
        if "LogitScore" in names:
            path = directory / "config.json"
            tokens = ScoreTokens.read(modules[1][1], number(path, object_in(path), "vocab_size"))
        elif "Dense" in names:
            head = Head.read([("Pooling", modules[1][1]), ("Dense", modules[2][1])], output="scores")
            if not head.include_prompt:
                raise ModelRefused(
                    f"{modules[1][1] / 'config.json'} sets include_prompt to false, which is not supported for a "
                    "cross-encoder: save the model with include_prompt true"
                )
        return cls(settings, chat, tokens, head)


_TASKS: Mapping[tuple[str, ...], str] = {
    ("Transformer",): "sequence-classification",
    ("Transformer", "LogitScore"): "text-generation",
    ("Transformer", "Pooling", "Dense"): "feature-extraction",
}
"""transformer_task by the classes of the modules."""


def refused_language_model(directory: Path) -> ModelRefused:
    """The refusal of a reranker whose files are only those of a language model."""
    return ModelRefused(
        f"{directory} has a language model ({architecture_in(directory)}) without modules.json and without a chat "
        "template for the roles query and document: its files do not say what prompt and which tokens make a score, so "
        "CrossEncoder cannot score with it as its card says, either. Use a copy that is saved for CrossEncoder "
        "(modules.json with LogitScore, and chat_template.jinja), or one that is converted to "
        "...ForSequenceClassification"
    )


def _card_says_reranker(directory: Path) -> bool:
    """Whether the metadata of the model's card is that of a reranker."""
    card = directory / "README.md"
    if not card.is_file():
        return False
    metadata = re.match(r"---\n(.*?)\n---", card.read_text("utf-8", errors="replace"), re.DOTALL)
    return metadata is not None and bool(_RANKS.search(metadata[1]))


_RANKS = re.compile(r"^pipeline_tag:\s*[\"']?(text-ranking|text-classification)\b", re.MULTILINE)
