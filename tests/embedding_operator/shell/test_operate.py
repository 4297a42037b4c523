"""The whole operator against an API server: watches, workers and Lease together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from embedding_operator.constants import API_VERSION, SERVICE_LABEL
from embedding_operator.kinds import CHILDREN, KINDS, WATCHED
from embedding_operator.settings import Settings
from embedding_operator.shell import run
from support.clock import eventually
from support.fake_api import FakeApi, Request, fake_api

LEASE = "embedding-operator"
CHILD_PLURALS = [kind.plural for kind in CHILDREN]


def an_embedding_service(name: str = "minilm", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "EmbeddingService",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"model": {"storageUri": "hf://sentence-transformers/all-MiniLM-L6-v2"}, **spec},
    }


def a_lease(holder: str) -> dict[str, Any]:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": LEASE, "namespace": "default"},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15},
    }


class Running:
    """An operator at work, and the API server that it works on."""

    def __init__(self, api: FakeApi, settings: Settings) -> None:
        self.api = api
        self.process = run.Process(settings)
        self._stop = asyncio.Event()
        self.task = asyncio.create_task(self.process.operate(api.configuration, self._stop))

    async def stop(self) -> None:
        self._stop.set()
        await self.task

    async def watches(self) -> None:
        await eventually(lambda: all(self.api.watches(kind.plural) for kind in WATCHED))

    async def is_level(self, name: str = "minilm") -> None:
        """Until a service has all that it needs, and a status that says so; then the operator is at rest."""
        await eventually(lambda: self.status(name).get("observedGeneration"))

    def status(self, name: str = "minilm") -> dict[str, Any]:
        service = self.api.get("embeddingservices", name)
        status: dict[str, Any] = (service or {}).get("status", {})
        return status

    def children(self, name: str = "minilm") -> list[dict[str, Any]]:
        return [
            child
            for plural in CHILD_PLURALS
            for child in self.api.list(plural)
            if child["metadata"].get("labels", {}).get(SERVICE_LABEL) == name
        ]

    async def renewals(self, number: int) -> None:
        """Until the Lease was renewed so often: the clock of a world where nothing else happens."""
        until = self.renewed + number
        await eventually(lambda: self.renewed >= until)

    @property
    def renewed(self) -> int:
        return self.api.requests.count(self.of_lease("update"))

    def of_lease(self, verb: str) -> Request:
        return next(
            (each for each in self.api.requests if (each.verb, each.resource) == (verb, "leases")),
            Request(verb, "leases", "default", LEASE),
        )

    @property
    def asked(self) -> list[Request]:
        return [each for each in self.api.requests if each.resource != "leases"]

    @property
    def written(self) -> list[Request]:
        return [each for each in self.api.writes if each.resource != "leases"]


@asynccontextmanager
async def an_operator(*objects: dict[str, Any], **settings: Any) -> AsyncIterator[Running]:
    async with fake_api() as api:
        for obj in objects:
            api.create(obj)
        running = Running(api, Settings.model_validate({"lease_seconds": 5, **settings}))
        try:
            yield running
        finally:
            running.task.cancel()
            await asyncio.wait({running.task})


async def test_services_that_exist_at_the_start_are_served() -> None:
    async with an_operator(an_embedding_service()) as operator:
        await eventually(lambda: operator.api.get("services", "minilm"))


async def test_a_service_that_comes_later_is_served() -> None:
    async with an_operator() as operator:
        await operator.watches()
        operator.api.create(an_embedding_service())
        await eventually(lambda: operator.api.get("services", "minilm"))


@pytest.mark.parametrize("plural", ["deployments", "services"])
async def test_what_somebody_deletes_comes_back(plural: str) -> None:
    async with an_operator(an_embedding_service()) as operator:
        await operator.is_level()
        (child,) = operator.api.list(plural)
        operator.api.delete(plural, child["metadata"]["name"])
        await eventually(lambda: [each["metadata"]["uid"] for each in operator.api.list(plural)])
        assert operator.api.list(plural)[0]["metadata"]["uid"] != child["metadata"]["uid"]
