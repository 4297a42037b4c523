"""URIs as messages show them: without users, passwords, parameters, queries and fragments, which may be secrets."""

import re

__all__ = ["without_parameters", "without_secrets", "without_user"]


def without_user(text: str) -> str:
    """The URI with *** for user and password, even if they are not escaped."""
    user = _USER.match(text)
    return f"{user['scheme']}***@{text[user.end() :]}" if user else text


def without_secrets(text: str) -> str:
    """The URI as messages show it.

    User and password, parameters of the path, the query (which may be a signature), and fragments that are no digest
    are ***.
    """
    address, hash_mark, fragment = without_user(text).partition("#")
    path, question_mark, _ = address.partition("?")
    shown = without_parameters(path) + ("?***" if question_mark else "")
    return shown + hash_mark + (fragment if not fragment or _DIGITS.fullmatch(fragment) else "***")


def without_parameters(path: str) -> str:
    """The path with *** for the parameters of its segments."""
    return re.sub(r";[^/?#]*", ";***", path)


_USER = re.compile(
    r"""(?P<scheme>\s*(?:[A-Za-z][A-Za-z0-9+.-]*:(?=/))?/*)
        (?:
            (?=[^/?#\[]*:(?!\d*(?:[/?#]|$))) .*  # user:password, which may have a slash; no host:port
            | [^/?#]*
        )@""",
    re.VERBOSE | re.DOTALL,
)

_DIGITS = re.compile(r"sha256=[0-9a-fA-F]*")
"""A digest, which is no secret, even if it is incomplete."""
