"""The OpenAPI document, for generators of clients and for `/docs`."""

from collections.abc import Mapping
from typing import Any

import pytest

from embedding_runtime.frontend.health import PROBES
from support.runtime_server import RuntimeServer


@pytest.fixture(scope="module")
def document(fake_server: RuntimeServer) -> Mapping[str, Any]:
    found: dict[str, Any] = fake_server.get("/openapi.json").json()
    return found


def test_openapi_describes_bearer_authentication(document: Mapping[str, Any]) -> None:
    scheme = document["components"]["securitySchemes"]["Bearer"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")


def test_operations_that_need_a_key_are_documented(document: Mapping[str, Any]) -> None:
    operations = {
        (method, path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    keyed = {place for place, operation in operations.items() if operation.get("security") == [{}, {"Bearer": []}]}
    assert set(operations) - keyed == {("get", path) for path in {*PROBES, "/"}}
    assert keyed == {place for place, operation in operations.items() if "401" in operation["responses"]}
