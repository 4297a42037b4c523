"""Which URIs a storage container is for.

Anyone who may create a storage container writes regexes that the operator's event loop runs. So a storage container
has a budget of compiled instructions, and a regex sees short URIs alone: all of one container's regexes together take
well under a millisecond.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import re2

from embedding_operator.core.checks.problems import quoted

__all__ = ["Rank", "UriFormats", "read_formats"]

_MAX_FORMATS = 64
_MAX_REGEX = 256  # characters; the CRD says the same
_MAX_PROGRAM = (
    500  # instructions of all regexes of a storage container; `https://(.+?).blob.core.windows.net/(.+)` has 81
)
_MAX_REGEX_URI = 512
_UNCLAIMED = ("pvc://", "file://")
"""Schemes that a catch-all does not take: the cluster has those files already."""

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False  # a bad regex is reported in the storage container's status
_OPTIONS.never_capture = True
_OPTIONS.max_mem = 1 << 16

_BEGINNING_OF_A_URI = re.compile(r"[a-z][a-z0-9+.-]*(:(/(/\S*)?)?)?")


class Rank(NamedTuple):
    """How well a URI matches; smaller is better: the longest prefix, then a regex, then a catch-all."""

    order: int
    length: int
    rule: str
    """What matched, in words."""

    @property
    def is_catch_all(self) -> bool:
        return self.order == _CATCH_ALL


_PREFIX, _REGEX, _CATCH_ALL = range(3)


@dataclass(frozen=True)
class UriFormats:
    """The formats that can be read, and what is wrong with the others. The regexes are compiled: a storage container is
    read once for each of its versions, and matched for each service.
    """

    prefixes: tuple[str, ...] = ()
    regexes: tuple[Any, ...] = ()
    is_catch_all: bool = False
    problems: tuple[str, ...] = ()

    def rank(self, uri: str) -> Rank | None:
        """How well the URI matches; None: it does not."""
        prefix = max((each for each in self.prefixes if uri.startswith(each)), key=len, default=None)
        if prefix is not None:
            return Rank(_PREFIX, -len(prefix), f"prefix {prefix}")
        if len(uri) <= _MAX_REGEX_URI:
            for regex in self.regexes:
                if regex.search(uri):
                    return Rank(_REGEX, 0, f"regex {regex.pattern}")
        if self.is_catch_all and not uri.startswith(_UNCLAIMED):
            return Rank(_CATCH_ALL, 0, "no supportedUriFormats: any URI that no other storage container claims")
        return None


def read_formats(given: Any) -> UriFormats:
    """From `spec.supportedUriFormats` as the API has it, which a newer release may have written."""
    if given is None or given == []:
        return UriFormats(is_catch_all=True)
    where = "spec.supportedUriFormats"
    if not isinstance(given, list) or len(given) > _MAX_FORMATS:
        return UriFormats(problems=(f"{where}: give a list of at most {_MAX_FORMATS} formats",))
    prefixes: list[str] = []
    regexes: list[Any] = []
    problems: list[str] = []
    instructions = 0
    for index, each in enumerate(given):
        prefix, regex, problem = _read(each)
        if regex is not None and problem is None:
            instructions += regex.programsize
            if instructions > _MAX_PROGRAM:
                problems.append(
                    f"{where}[{index}].regex: the regexes of one storage container compile to at most {_MAX_PROGRAM} "
                    f"instructions, and with {quoted(regex.pattern)} they have {instructions}: use prefixes or simpler "
                    "regexes"
                )
                break
        if problem is not None:
            problems.append(f"{where}[{index}]{problem}")
        elif prefix is not None:
            prefixes.append(prefix)
        elif regex is not None:
            regexes.append(regex)
    return UriFormats(tuple(prefixes), tuple(regexes), problems=tuple(problems))


def _read(given: Any) -> tuple[str | None, Any, str | None]:
    """Prefix, compiled regex, and what is wrong, the path inside the format first."""
    prefix, regex = (given.get("prefix"), given.get("regex")) if isinstance(given, Mapping) else (None, None)
    if (prefix is None) == (regex is None):
        return None, None, ": give exactly one of prefix and regex"
    if prefix is not None:
        if isinstance(prefix, str) and _BEGINNING_OF_A_URI.fullmatch(prefix):
            return prefix, None, None
        shown = quoted(str(prefix))
        return None, None, f".prefix: no URI begins with {shown}: write scheme://..., the scheme in lowercase letters"
    if not isinstance(regex, str) or len(regex) > _MAX_REGEX:
        return None, None, f".regex: give a text of at most {_MAX_REGEX} characters"
    try:
        return None, _compiled(regex), None
    except re2.error as error:
        reason = error.args[0]
        words = reason.decode() if isinstance(reason, bytes) else str(reason)
    except UnicodeEncodeError:
        words = "it has half of a surrogate pair"
    return None, None, f".regex: {quoted(regex)} is not valid: {words}"


@lru_cache(maxsize=1024)  # an edit of one storage container has all of them read anew
def _compiled(regex: str) -> Any:
    return re2.compile(regex, _OPTIONS)
