"""Command line flags defined by a pydantic model: parsed from argv and written to it.

A flag may be written with `-` or `_`. Unknown flags are rejected.
"""

import argparse
import difflib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

__all__ = ["ContractError", "FlagModel"]

_MAX_SHOWN = 100
"""Characters of an invalid value that a message quotes."""


class ContractError(ValueError):
    """Invalid flags; `problems` lists all of them."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class FlagModel(BaseModel):
    """A model whose fields are flags. `from_argv(to_argv(args)) == args`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    written_always: ClassVar[frozenset[str]] = frozenset()
    """Fields that `to_argv` writes even with their default value."""
    further_values: ClassVar[Mapping[str, str]] = {}
    """Fields without a flag, by name: they hold the values of another field's flag after the first."""

    def to_argv(self) -> list[str]:
        """Return the flags that are always written or differ from their default, in the order of the fields.

        A pod's arguments therefore do not change when the runtime gets a new flag, and an older runtime can parse them.
        """
        argv = []
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name in self.written_always or field.is_required() or value != field.default:
                flag = self.further_values.get(name, name)
                argv += [f"--{flag}={text}" for text in self._texts(name, value)]
        return argv

    @classmethod
    def from_argv(cls, argv: Sequence[str]) -> Self:
        """Parse. Raises ContractError with every problem."""
        return cls.from_flags(*cls.read_flags(argv))

    @classmethod
    def from_flags(cls, given: Mapping[str, str | Sequence[str]], problems: Sequence[str] = ()) -> Self:
        """Validate the result of `read_flags`. Raises ContractError with every problem."""
        try:
            args = cls.model_validate(given)
        except ValidationError as error:
            problems = [*problems, *(cls._in_words(each) for each in error.errors(include_url=False))]
        if problems:
            raise ContractError(problems)
        return args

    @classmethod
    def read_flags(cls, argv: Sequence[str]) -> tuple[dict[str, str | Sequence[str]], list[str]]:
        """Return the values of flags by field name, as text, and the problems of the command line."""
        # argparse (Python 3.11) drops the value --, so it is replaced by a NUL, which no argument can contain.
        escaped = [f"{each[:-2]}\0" if each.endswith("=--") else each for each in argv]
        known, unknown = _parser(cls).parse_known_args(escaped)
        given: dict[str, str | Sequence[str]] = {}
        problems = [cls._unknown(text) for text in unknown]
        further = {flag: name for name, flag in cls.further_values.items()}
        for name, found in vars(known).items():
            values = ["--" if value == "\0" else value for value in found]
            if None in values:
                problems.append(f"--{name} requires a value: write --{name}=VALUE")
            elif name in further:
                given[name], *rest = dict.fromkeys(values)
                if rest:
                    given[further[name]] = tuple(rest)
            elif len(set(values)) > 1:
                problems.append(f"--{name} has {len(values)} values, {' and '.join(values)}: keep one")
            else:
                given[name] = values[0]
        return given, problems

    @classmethod
    def parser(cls) -> argparse.ArgumentParser:
        """The argument parser with help. Values are lists of text; `from_flags` converts them."""
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
        for name, field in cls.model_fields.items():
            if name in cls.further_values:
                continue
            spellings = dict.fromkeys([f"--{name}", f"--{name.replace('_', '-')}"])
            default = "" if field.is_required() or field.default is None else f" (default: {field.default})"
            parser.add_argument(
                *spellings,
                dest=name,
                action="append",
                nargs="?",
                const="true" if field.annotation is bool else None,
                metavar="VALUE",
                help=f"{field.description}{default}",
            )
        return parser

    @classmethod
    def _texts(cls, name: str, value: object) -> Sequence[str]:
        """The values of a field's flag, one for each time that the flag is written."""
        if not isinstance(value, tuple):
            return [str(value)]
        return value if name in cls.further_values else [json.dumps(value)]

    @classmethod
    def _unknown(cls, text: str) -> str:
        if not text.startswith("-"):
            return f"{_shown(text)!r} is not a flag: write --name=value"
        flag = text.partition("=")[0]
        names = [name for name in cls.model_fields if name not in cls.further_values]
        near = difflib.get_close_matches(flag.lstrip("-").replace("-", "_"), names, n=1)
        known = ", ".join(f"--{name}" for name in names)
        hint = f"did you mean --{near[0]}?" if near else f"valid flags: {known}"
        return f"unknown flag {flag}; {hint}"

    @classmethod
    def _in_words(cls, error: Mapping[str, object]) -> str:
        """pydantic's error, prefixed with the flag and its value."""
        where, message = error["loc"], str(error["msg"]).removeprefix("Value error, ")
        if not isinstance(where, tuple) or not where:
            return message
        flag = cls.further_values.get(str(where[0]), where[0])
        if error["type"] == "missing":
            return f"--{flag} is required"
        return f"--{flag}={_shown(str(error['input']))}: {message}"


def _shown(value: str) -> str:
    return value if len(value) <= _MAX_SHOWN else f"{value[:_MAX_SHOWN]}... ({len(value)} characters)"


@cache
def _parser(model: type[FlagModel]) -> argparse.ArgumentParser:
    """The parser, cached: the operator parses the flags of every service in every reconcile."""
    return model.parser()
