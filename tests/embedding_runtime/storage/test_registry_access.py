"""Registries that want credentials, or have a certificate of a private authority."""

import base64
import json
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from embedding_runtime.contract import parse_uri
from embedding_runtime.storage.client import Client, Refused
from embedding_runtime.storage.errors import Interrupted, NoModel
from embedding_runtime.storage.registry_auth import RegistryAuth, credentials
from embedding_runtime.storage.sources.oci import OciSource, open_source
from support.certificates import a_certificate
from support.initializer import MODEL, download, files_of
from support.registry import Registry, a_registry, of_file
from support.scripted_server import Answer, Asked, serving

ARTIFACT = [of_file(name, content) for name, content in MODEL.items()]
BASIC = base64.b64encode(b"me:hush-hush").decode()
HASHED = "me:$2b$04$ChTGJrgicpvPePH6gL3B8O0TCDKCr74iDfmDh3ygqrqEI5x2hK..a\n"  # bcrypt
CREDENTIALS = {"OCI_USERNAME": "me", "OCI_PASSWORD": "hush-hush"}


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with basic authorization."""
    directory = tmp_path_factory.mktemp("basic")
    (directory / "htpasswd").write_text(HASHED)
    auth = {"htpasswd": {"realm": "models", "path": str(directory / "htpasswd")}}
    with a_registry(directory / "registry", auth) as registry:
        allowed = Registry(registry.port, f"Basic {BASIC}")
        allowed.push("private", ARTIFACT)
        yield allowed


def test_a_user_and_a_password_are_accepted(private: Registry, tmp_path: Path) -> None:
    outcome = download(f"oci://{private.host}/private", tmp_path / "models", CREDENTIALS)
    assert outcome.code == 0, outcome.log
    assert files_of(tmp_path / "models") == MODEL


@pytest.mark.parametrize("key", ["{host}", "https://{host}", "http://{host}/v2/"])
@pytest.mark.parametrize("entry", [{"auth": BASIC}, {"username": "me", "password": "hush-hush"}])
def test_so_is_the_config_of_docker(private: Registry, tmp_path: Path, key: str, entry: Mapping[str, str]) -> None:
    config = {"auths": {"elsewhere.example.com": {"auth": "bm90OnRoaXM="}, key.format(host=private.host): entry}}
    environ = {"OCI_AUTH_CONFIG": json.dumps(config)}
    assert download(f"oci://{private.host}/private", tmp_path / "models", environ).code == 0


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "it was asked without credentials: set OCI_USERNAME and OCI_PASSWORD, or OCI_AUTH_CONFIG"),
        (CREDENTIALS | {"OCI_PASSWORD": "wrong-hush"}, "it was asked with the credentials given"),
        ({"OCI_AUTH_CONFIG": '{"auths": {"elsewhere": {"auth": "aHVzaA=="}}}'}, "it was asked without credentials"),
    ],
)
def test_who_may_not_read_is_told_what_to_set(
    private: Registry, tmp_path: Path, environ: Mapping[str, str], words: str
) -> None:
    uri = f"oci://{private.host}/private"
    outcome = download(uri, tmp_path / "models", environ)
    assert outcome.last_line.startswith(f"ModelUnauthorized: {uri}: http://{private.host}: the server answered 401")
    assert words in outcome.last_line
    assert "hush" not in outcome.log
    assert "retrying" not in outcome.log


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"OCI_USERNAME": "me"}, "OCI_USERNAME and OCI_PASSWORD must both be set"),
        ({"OCI_AUTH_CONFIG": "hush"}, "OCI_AUTH_CONFIG is not a Docker config.json with auths"),
        ({"OCI_AUTH_CONFIG": '{"auths": ["hush"]}'}, "OCI_AUTH_CONFIG is not a Docker config.json with auths"),
        ({"OCI_AUTH_CONFIG": '{"auths": {"r": "hush"}}'}, "OCI_AUTH_CONFIG is not a Docker config.json with auths"),
        (
            {"OCI_AUTH_CONFIG": '{"auths": {"r": {"username": "\\ud800"}}}'},
            "OCI_AUTH_CONFIG has a character that is not",
        ),
        ({"OCI_USERNAME": "me", "OCI_PASSWORD": "hush\ud800"}, "OCI_PASSWORD has a character that is not valid"),
        ({"OCI_AUTH_CONFIG": "[" * 100_000}, "OCI_AUTH_CONFIG is not a Docker config.json with auths"),
        ({"OCI_AUTH_CONFIG": '{"auths": {"r": {"auth": "hush!"}}}'}, "has an auth for r that is not base64"),
        ({"OCI_AUTH_CONFIG": '{"auths": {"r": {"identitytoken": "hush"}}}'}, "has an identity token for r"),
    ],
)
def test_credentials_that_are_not_valid_are_refused_and_not_shown(environ: Mapping[str, str], words: str) -> None:
    with pytest.raises(NoModel, match=words) as caught:
        credentials("r", environ)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("key", ["docker.io", "https://index.docker.io/v1/"])
def test_docker_hub_has_several_names(key: str) -> None:
    environ = {"OCI_AUTH_CONFIG": json.dumps({"auths": {key: {"auth": BASIC}}})}
    assert credentials("docker.io", environ) == BASIC
    source = _source("oci://docker.io/minilm", environ)
    assert source.server == "https://registry-1.docker.io"
    source.close()


class _TokenServer(HTTPServer):
    """Gives tokens for a registry to those with the password: JSON Web Tokens that openssl signs."""

    def __init__(self, directory: Path) -> None:
        self.certificate = a_certificate(directory / "issuer", rsa=True)
        self.asked: list[Mapping[str, list[str]]] = []
        super().__init__(("127.0.0.1", 0), _TokenHandler)

    def token(self, scope: str) -> str:
        kind, name, action = scope.split(":")
        der = "".join(self.certificate.read_text().split("-----")[2].split())
        access = [{"type": kind, "name": name, "actions": action.split(",")}]
        claims = {"iss": "tests", "aud": "registry", "exp": 1 << 32, "nbf": 0, "iat": 0, "access": access}
        parts = [_base64url(json.dumps(part).encode()) for part in ({"alg": "RS256", "x5c": [der]}, claims)]
        signed = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", self.certificate.with_suffix(".key")],
            input=".".join(parts).encode(),
            check=True,
            capture_output=True,
        )
        return ".".join([*parts, _base64url(signed.stdout)])


class _TokenHandler(BaseHTTPRequestHandler):
    server: _TokenServer

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        self.server.asked.append(query)
        allowed = self.headers.get("Authorization") == f"Basic {BASIC}"
        body = json.dumps({"token": self.server.token(query["scope"][0])} if allowed else {}).encode()
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@contextmanager
def _token_server(directory: Path) -> Iterator[_TokenServer]:
    with _TokenServer(directory) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_a_registry_that_wants_tokens_gets_one_for_its_repository(tmp_path: Path) -> None:
    with _token_server(tmp_path) as tokens:
        realm = f"http://127.0.0.1:{tokens.server_port}/token"
        bundle = str(tokens.certificate)
        auth = {"token": {"realm": realm, "service": "registry", "issuer": "tests", "rootcertbundle": bundle}}
        with a_registry(tmp_path / "registry", auth) as registry:
            allowed = Registry(registry.port, f"Bearer {tokens.token('repository:owner/minilm:pull,push')}")
            allowed.push("owner/minilm", ARTIFACT)
            uri = f"oci://{registry.host}/owner/minilm"
            outcome = download(uri, tmp_path / "models", CREDENTIALS)
            refused = download(uri, tmp_path / "other", {})
    assert outcome.code == 0, outcome.log
    assert files_of(tmp_path / "models") == MODEL
    assert tokens.asked == 2 * [{"scope": ["repository:owner/minilm:pull"], "service": ["registry"]}]
    assert refused.last_line.startswith("ModelUnauthorized: ")


def _source(uri: str, environ: Mapping[str, str]) -> OciSource:
    return open_source(parse_uri(uri), environ)  # type: ignore[arg-type] # of this kind


def _challenge(realm: str) -> Answer:
    return Answer(401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="s",scope="repository:a:pull"'})


def _auth(server: str = "http://127.0.0.1:5000", basic: str | None = None) -> RegistryAuth:
    return RegistryAuth("uri: ", "repository:a:pull", basic, server)


def test_a_token_is_kept_until_it_expires() -> None:
    tokens, seen = iter(["first", "second"]), []

    def answer(asked: Asked) -> Answer:
        given = asked.headers.get("Authorization")
        seen.append(given)
        is_known = given is not None and not (given == "Bearer first" and seen.count(given) > 2)
        return Answer() if is_known else _challenge(realm)

    with serving(lambda _: Answer(content=json.dumps({"access_token": next(tokens)}).encode())) as url:
        realm = f"{url}/token"
        with serving(answer) as registry, closing(Client(None, _auth())) as client:
            for _ in range(4):
                with client.get(f"{registry}/v2/a") as response:
                    assert response.status == 200
    assert seen == [None, *["Bearer first"] * 3, *["Bearer second"] * 2]


@contextmanager
def _a_registry_that_names(realm: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str | None]]:
    """A proxy that answers for all hosts. Yields the Authorization of requests for a token."""
    sent: list[str | None] = []

    def answer(asked: Asked) -> Answer:
        given = asked.headers.get("Authorization")
        if urlsplit(asked.path).path == "/token":
            sent.append(given)
            return Answer(content=b'{"token": "t"}')
        return Answer() if given == "Bearer t" else _challenge(realm)

    with serving(answer) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        yield sent


@pytest.mark.parametrize(
    ("registry", "realm"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5001/token"),
        ("http://localhost:5000", "http://127.0.0.1:5001/token"),
        ("http://registry.example:5000", "http://Registry.example/token?a=b"),
    ],
)
def test_a_registry_without_tls_may_name_a_token_server_without_tls_on_its_host(
    registry: str, realm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        _a_registry_that_names(realm, monkeypatch) as sent,
        closing(Client(None, _auth(registry, BASIC))) as client,
        client.get(f"{registry}/v2/a") as response,
    ):
        assert response.status == 200
    assert sent == [f"Basic {BASIC}"]


@pytest.mark.parametrize(
    ("registry", "realm"),
    [
        ("http://registry.example", "http://auth.example/token"),
        ("http://127.0.0.1:5000", "http://auth.example/token"),
        ("http://registry.example", "http://127.0.0.1/token"),
        ("http://registry.example", "http://registry.example.auth.example/token"),
        ("http://registry.example", "http://auth.example\\@registry.example/token"),
        ("http://registry.example", "ftp://registry.example/token"),
        ("http://registry.example", "/token"),
    ],
)
def test_a_password_is_sent_to_no_other_host_over_http(
    registry: str, realm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        _a_registry_that_names(realm, monkeypatch) as sent,
        closing(Client(None, _auth(registry, BASIC))) as client,
        pytest.raises(NoModel, match=r"wants a token from '.*', which is not https"),
        client.get(f"{registry}/v2/a"),
    ):
        pass
    assert sent == []


def test_a_registry_with_tls_may_name_no_token_server_without() -> None:
    with (
        serving(lambda _: _challenge("http://registry.example/token")) as url,
        closing(Client(None, _auth("https://registry.example", BASIC))) as client,
        pytest.raises(NoModel, match=r"wants a token from 'http://registry\.example/token', which is not https"),
        client.get(f"{url}/v2/a"),
    ):
        pass


def test_a_server_that_a_registry_redirects_to_cannot_ask_for_the_password() -> None:
    seen: list[str | None] = []

    def thief(asked: Asked) -> Answer:
        seen.append(asked.headers.get("Authorization"))
        return _challenge(f"http://{asked.headers['Host']}/token")

    with (
        serving(thief) as elsewhere,
        serving(lambda _: Answer(307, {"Location": f"{elsewhere}/blob"})) as registry,
        closing(Client(None, _auth(basic=BASIC))) as client,
        pytest.raises(Refused, match="401"),
        client.get(f"{registry}/v2/a"),
    ):
        pass
    assert seen == [None]


def test_a_token_server_without_a_valid_address_is_reported() -> None:
    with (
        serving(lambda _: _challenge("https://[::1")) as registry,
        closing(Client(None, _auth())) as client,
        pytest.raises(NoModel, match="wants a token from an address that is not valid"),
        client.get(f"{registry}/v2/a"),
    ):
        pass


NO_TOKENS: Mapping[str, bytes] = {
    "HTML": b"<html>",
    "a list": b"[]",
    "no token": b"{}",
    "a token that ends a header": b'{"token": "a\\nb"}',
    "what is nested too deeply": b"[" * 100_000,
    "what has no end": b'{"token": "' + b"a" * (2 << 20) + b'"}',
}


@pytest.mark.parametrize("body", NO_TOKENS.values(), ids=NO_TOKENS)
def test_a_token_server_that_is_none_is_reported(body: bytes) -> None:
    with (
        serving(lambda _: Answer(content=body)) as tokens,
        serving(lambda _: _challenge(tokens)) as registry,
        closing(Client(None, _auth())) as client,
        pytest.raises(NoModel, match="the registry's token server answered with"),
        client.get(f"{registry}/v2/a"),
    ):
        pass


def test_a_token_server_that_is_busy_is_asked_again() -> None:
    with (
        serving(lambda _: Answer(503, {"Retry-After": "7"})) as tokens,
        serving(lambda _: _challenge(tokens)) as registry,
        closing(Client(None, _auth())) as client,
        pytest.raises(Interrupted) as caught,
        client.get(f"{registry}/v2/a"),
    ):
        pass
    assert caught.value.retry_after == 7


@pytest.mark.parametrize(
    ("registry", "insecure", "scheme"),
    [
        ("localhost:5000", "", "http"),
        ("127.0.0.1:5000", "", "http"),
        ("[::1]:5000", "", "http"),
        ("127.0.0.1:5000", "false", "https"),
        ("registry.example.com", "", "https"),
        ("localhost.example.com", "", "https"),
        ("registry.example.com", "true", "http"),
    ],
)
def test_http_is_for_this_machine_or_where_it_is_allowed(registry: str, insecure: str, scheme: str) -> None:
    source = _source(f"oci://{registry}/minilm", {"OCI_INSECURE": insecure})
    assert source.server == f"{scheme}://{registry}"
    source.close()


def test_a_private_authority_is_trusted_if_it_is_configured(tmp_path: Path) -> None:
    certificate = a_certificate(tmp_path / "own", "-addext", "subjectAltName=IP:127.0.0.1")
    with a_registry(tmp_path / "registry", tls=(certificate, certificate.with_suffix(".key"))) as registry:
        uri = f"oci://{registry.host}/minilm"
        refused = download(uri, tmp_path / "models", {"OCI_INSECURE": "false"})
        trusted = download(
            uri, tmp_path / "models", {"OCI_INSECURE": "false", "CA_CERTIFICATES": certificate.read_text()}
        )
    assert "certificate verify failed" in refused.last_line
    assert trusted.last_line.startswith(f"ModelNotFound: {uri}: https://{registry.host}: the server answered 404")
