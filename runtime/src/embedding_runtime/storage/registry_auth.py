"""Authorization at OCI registries: none, basic, or a bearer token, whichever the registry asks for.

https://distribution.github.io/distribution/spec/auth/token/
"""

import base64
import ipaddress
import re
import threading
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

from urllib3.util import Url, parse_url

from embedding_runtime.contract import DownloadVerdict, without_secrets
from embedding_runtime.storage.client import Client, FixedHeaders, Refused
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.http import read_all
from embedding_runtime.storage.parse import parse_json

__all__ = ["RegistryAuth", "credentials", "is_loopback"]

_DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
_LARGEST_ANSWER = 1 << 20
_LONGEST_SHOWN = 200
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class RegistryAuth:
    """Answers a registry's challenge, and keeps the answer until it expires. Thread-safe."""

    def __init__(self, about: str, scope: str, basic: str | None, server: str) -> None:
        """`basic`: the user and the password, as `credentials` returns them. `server`: the registry's URL."""
        self._about, self._scope, self._server = about, scope, parse_url(server)
        self._basic = {"Authorization": f"Basic {basic}"} if basic else {}
        self._current: Mapping[str, str] = {}
        self._lock = threading.Lock()

    def headers(self) -> Mapping[str, str]:
        return self._current

    def renew(self, used: Mapping[str, str], challenge: str, client: Client) -> bool:
        """Ask the token server that the challenge names, or use the password. Raises NoModel, Interrupted."""
        with self._lock:
            if self._current == used:  # no other thread has renewed it
                is_bearer = "bearer" in challenge.lower()
                self._current = self._token(challenge, client) if is_bearer else self._basic
        return self._current not in (used, {})

    def _token(self, challenge: str, client: Client) -> Mapping[str, str]:
        url = self._token_url(dict(_PARAMETER.findall(challenge)))
        try:
            with client.get(url, authorization=FixedHeaders(self._basic)) as response:
                answer = parse_json(read_all(response, _LARGEST_ANSWER))
            token = str(answer.get("token") or answer["access_token"])
        except Refused:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            words = f"the registry's token server answered with something else than a token ({error})"
            raise NoModel(DownloadVerdict.DOWNLOAD_FAILED, f"{self._about}{words}: check the URI") from error
        if not all("!" <= letter <= "~" for letter in token):
            words = "the registry's token server answered with a token that is not valid in a header"
            raise NoModel(DownloadVerdict.DOWNLOAD_FAILED, f"{self._about}{words}")
        return {"Authorization": f"Bearer {token}"}

    def _token_url(self, challenge: Mapping[str, str]) -> str:
        try:
            realm = parse_url(challenge.get("realm", ""))
        except ValueError as error:
            words = "the registry wants a token from an address that is not valid"
            raise NoModel(DownloadVerdict.DOWNLOAD_FAILED, f"{self._about}{words}") from error
        if realm.scheme != "https" and not self._is_own_http(realm):
            shown = without_secrets(realm.url)[:_LONGEST_SHOWN]
            words = f"the registry wants a token from {shown!r}, which is not https://"
            remedy = "; OCI_INSECURE=true allows http:// for the registry and a token server on the same host"
            raise NoModel(DownloadVerdict.DOWNLOAD_FAILED, f"{self._about}{words}{remedy}")
        asked = {"scope": challenge.get("scope", self._scope)}
        if service := challenge.get("service"):
            asked["service"] = service
        query = "&".join(filter(None, [realm.query, urlencode(asked)]))
        return realm._replace(query=query, fragment=None).url

    def _is_own_http(self, realm: Url) -> bool:
        """Whether the realm gets the password as the registry itself would: without TLS, on its host."""
        own, other = self._server.host or "", realm.host or ""
        is_same_host = own == other or (is_loopback(own) and is_loopback(other))
        return self._server.scheme == realm.scheme == "http" and is_same_host


def credentials(registry: str, environ: Mapping[str, str]) -> str | None:
    """The user and the password for a registry, as basic authorization has them. Raises NoModel.

    OCI_USERNAME and OCI_PASSWORD, or the registry's entry in OCI_AUTH_CONFIG, the text of a Docker config.json.
    """
    user, password = environ.get("OCI_USERNAME", "").strip(), environ.get("OCI_PASSWORD", "").strip()
    if user or password:
        if not (user and password):
            raise _unauthorized("OCI_USERNAME and OCI_PASSWORD must both be set")
        return _encoded(user, password, "OCI_USERNAME or OCI_PASSWORD")
    text = environ.get("OCI_AUTH_CONFIG", "").strip()
    if not text:
        return None
    try:
        entry = dict(_entry(parse_json(text)["auths"], registry))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unauthorized("OCI_AUTH_CONFIG is not a Docker config.json with auths") from error
    if not entry:
        return None
    if entry.get("identitytoken"):
        raise _unauthorized(f"OCI_AUTH_CONFIG has an identity token for {registry}: use a user and a password")
    if entry.get("username"):
        return _encoded(str(entry["username"]), str(entry.get("password", "")), "OCI_AUTH_CONFIG")
    encoded = str(entry.get("auth", ""))
    try:
        base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise _unauthorized(f"OCI_AUTH_CONFIG has an auth for {registry} that is not base64") from error
    return encoded or None


def is_loopback(registry: str) -> bool:
    """Whether a registry is on this machine."""
    host = urlsplit(f"//{registry}").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _entry(auths: Mapping[str, Mapping[str, str]], registry: str) -> Mapping[str, str]:
    names = _DOCKER_HUB if registry in _DOCKER_HUB else (registry,)
    by_host = {key.removeprefix("https://").removeprefix("http://").partition("/")[0]: auths[key] for key in auths}
    return next((by_host[name] for name in names if name in by_host), {})


def _encoded(user: str, password: str, place: str) -> str:
    """Raises NoModel. `place`: the variables that have them."""
    try:
        return base64.b64encode(f"{user}:{password}".encode()).decode()
    except UnicodeEncodeError as error:
        raise _unauthorized(f"{place} has a character that is not valid: write it again") from error


def _unauthorized(message: str) -> NoModel:
    return NoModel(DownloadVerdict.MODEL_UNAUTHORIZED, message)
