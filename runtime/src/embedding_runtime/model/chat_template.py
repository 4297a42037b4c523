"""The chat template that CrossEncoder applies to a pair of texts before it tokenizes them: rerankers that are LLMs.

The template is Jinja from the model's files, and runs in Jinja's sandbox, with the environment that transformers gives
it. The worker compares the result with transformers' at start (`tokenizer_check`).
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NoReturn, Self

from embedding_runtime.model.files import ModelRefused, object_or_nothing

__all__ = ["ChatTemplate", "has_chat_template", "is_for_pairs"]


def has_chat_template(directory: Path) -> bool:
    """Whether the tokenizer in `directory` has a chat template."""
    return (directory / _FILE).is_file() or bool(object_or_nothing(directory / _CONFIG).get("chat_template"))


def is_for_pairs(directory: Path) -> bool:
    """Whether the chat template in `directory` names the roles query and document, unlike those of chat models."""
    return has_chat_template(directory) and all(
        re.search(rf"""["']{role}["']""", _source(directory)) for role in ("query", "document")
    )


@dataclass(frozen=True)
class ChatTemplate:
    """Renders a pair as messages of the roles query and document, and an instruction as one of the role system."""

    source: str
    structured: bool
    """Whether the content of a message is a list of typed parts instead of a string."""
    special_tokens: Mapping[str, str]
    """Variables of the template by name, such as bos_token."""
    arguments: Mapping[str, Any]
    """Variables in the model's files (processing_kwargs), such as add_generation_prompt."""
    restores_suffix: bool = True
    """Whether the template's last tokens replace the last tokens of a truncated pair."""

    @classmethod
    def read(cls, directory: Path, *, form: str = "auto", arguments: Mapping[str, Any] | None = None) -> Self:
        """Read the template of the tokenizer in `directory`.

        `form`: flat, structured or auto, as in modality_config. `arguments`: processing_kwargs.chat_template. Raises
        ModelRefused, also for a template that leaves out a text of the pair.
        """
        source = _source(directory)
        given = dict(arguments or {})
        restores = bool(given.pop("restore_suffix", True))
        if odd := sorted(_NOT_FOR_TEMPLATES & given.keys()):
            raise ModelRefused(
                f"{directory / 'sentence_bert_config.json'} sets {', '.join(odd)} in processing_kwargs.chat_template, "
                "which is not supported: use a model without it, or sentence-transformers in the client"
            )
        structured = _is_structured(directory, source) if form == "auto" else form == "structured"
        made = cls(source, structured, _special_tokens(directory), given, restores)
        made.check(directory)
        return made

    def render(self, query: str, document: str, instruction: str = "") -> str:
        """Render a pair; see `messages`."""
        defaults = {"tools": None, "documents": None, "add_generation_prompt": False}
        variables = {**defaults, **self.special_tokens, **self.arguments}
        return _renderer(self.source)(messages=self.messages(query, document, instruction), **variables)

    def messages(self, query: str, document: str, instruction: str) -> list[dict[str, Any]]:
        """The messages of a pair. An empty instruction is left out; the template may have a default of its own."""
        roles = {**({"system": instruction} if instruction else {}), "query": query, "document": document}
        return [
            {"role": role, "content": [{"type": "text", "text": text}] if self.structured else text}
            for role, text in roles.items()
        ]

    @cached_property
    def takes_instruction(self) -> bool:
        """Whether an instruction changes what is rendered."""
        try:
            return self.render("a", "b", "first") != self.render("a", "b", "second")
        except Exception:  # noqa: BLE001 a template may raise anything, and some do for the role system
            return False

    def check(self, directory: Path, instruction: str = "") -> None:
        """Refuse templates that CrossEncoder refuses: those of chat models know the roles of a chat only.

        `directory`: for the message. Raises ModelRefused.
        """
        pairs = (("alpha", "bravo"), ("charlie", "bravo"), ("alpha", "foxtrot"))
        try:
            base, *varied = (self.render(*pair, instruction) for pair in pairs)
        except ModelRefused:
            raise
        except Exception as error:  # noqa: BLE001 a template may raise anything
            why = f"it fails with {type(error).__name__}: {error}"
        else:
            lost = [role for role, text in zip(("query", "document"), varied, strict=True) if text == base]
            if not lost:
                return
            why = f"it leaves out the message of the role {' and '.join(lost)}"
        raise ModelRefused(
            f"the chat template in {directory} cannot render a pair of texts ({why}), so CrossEncoder refuses the "
            "model, too: use a copy of the model that is saved for CrossEncoder, whose chat_template.jinja renders the "
            "roles query and document (and system, for the instruction)"
        )


_FILE, _CONFIG, _MORE = "chat_template.jinja", "tokenizer_config.json", "additional_chat_templates"
"""Names of transformers."""

_NOT_FOR_TEMPLATES = frozenset(
    {"tools", "documents", "chat_template", "continue_final_message", "tokenize", "padding", "truncation", "max_length"}
    | {"return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs", "messages"}
)
"""Arguments of transformers' apply_chat_template that are not simply variables."""


def _source(directory: Path) -> str:
    file = directory / _FILE
    found = file.read_text("utf-8") if file.is_file() else object_or_nothing(directory / _CONFIG).get("chat_template")
    if not isinstance(found, str) or (directory / _MORE).is_dir():
        what = "no chat template, but its files require one" if not found else "several chat templates"
        raise ModelRefused(
            f"{directory} has {what}: save the model with one template in {_FILE}, which renders the roles query and "
            "document"
        )
    return found


def _is_structured(directory: Path, source: str) -> bool:
    """As sentence-transformers infers it."""
    if object_or_nothing(directory / "config.json").get("model_type") in _FLAT:
        return False
    return any(part in source for part in ("content[0]", ".type", "'type'", '"type"', "message.content["))


_FLAT = frozenset({"apertus", "deepseek_v3", "gpt_oss", "seed_oss"})


def _special_tokens(directory: Path) -> Mapping[str, str]:
    found = {}
    for name in ("special_tokens_map.json", _CONFIG):
        for key, value in object_or_nothing(directory / name).items():
            text = value.get("content") if isinstance(value, dict) else value
            if key.endswith("_token") and isinstance(text, str):
                found[key] = text
    return found


@lru_cache(maxsize=8)
def _renderer(source: str) -> Callable[..., str]:
    """Compile a template with transformers' settings. Raises ModelRefused."""
    # Few models need Jinja, and each process would hold it.
    from jinja2 import TemplateError  # noqa: PLC0415
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    def raise_exception(message: str) -> NoReturn:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, **{"ensure_ascii": False, **options})
    environment.globals["raise_exception"] = raise_exception
    try:
        return environment.from_string(source).render
    except TemplateError as error:
        raise ModelRefused(f"the model's chat template is not valid: {error}") from error
