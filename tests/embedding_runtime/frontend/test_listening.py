"""Addresses that the server listens on."""

import socket

import pytest

from embedding_runtime.frontend.listening import listen


def answers(family: socket.AddressFamily, address: str, port: int) -> bool:
    with socket.socket(family) as connection:
        return connection.connect_ex((address, port)) == 0


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_every_address_is_of_both_families(host: str) -> None:
    with listen(host, 0) as listener:
        port = listener.getsockname()[1]
        assert answers(socket.AF_INET, "127.0.0.1", port)
        assert answers(socket.AF_INET6, "::1", port)


def test_without_ipv6_every_address_is_of_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with listen("::", 0) as listener:
        assert listener.family is socket.AF_INET
        assert answers(socket.AF_INET, "127.0.0.1", listener.getsockname()[1])


def test_a_single_address_excludes_others() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
