"""One run: the phases in order, and the deletion of all created objects."""

import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from bench.operator import faults, generator, phases
from bench.operator.client import Client, access, connect
from bench.operator.fleet import Fleet
from bench.operator.operator_process import Operator
from bench.operator.results import Phase
from bench.operator.session import Controls, Session
from bench.operator.watches import feed
from bench.processes import Tree
from bench.progress import Progress
from bench.systems import ROOT

__all__ = ["PHASES", "CannotMeasure", "Plan", "run"]

PHASES = ("create", "idle", "restart", "edit", "settings", "crash", "outage")


class CannotMeasure(Exception):
    """The cluster cannot be used for a measurement; the message says why and what to do."""


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    kubeconfig: Path
    directory: Path
    """For logs and the operator's kubeconfig."""
    services: tuple[int, ...]
    """Ascending numbers of services; each step adds the missing ones."""
    phases: tuple[str, ...]
    idle_minutes: float
    foreign: int
    limit: float
    """Seconds that each wait may take."""
    settings: Mapping[str, str]
    """Settings of the operator in addition to those of the benchmark."""

    @property
    def seconds(self) -> dict[str, float]:
        """Estimated seconds of each phase with the first number of services."""
        first = self.services[0]
        return {
            "create": 20 + 0.15 * first,
            "idle": 60 * self.idle_minutes,
            "restart": 10 + 0.02 * first,
            "edit": 10 + 0.06 * first,
            "settings": 10 + 0.2 * first,
            "crash": 40,
            "outage": 90,
            "deletion": 60 + 0.05 * self.services[-1],
        }


async def run(plan: Plan, done: list[Phase]) -> None:
    """Add each phase to `done` when it ends. Raises CannotMeasure, OperatorEnded, or the API server's RequestFailed."""
    progress = Progress(sum(plan.seconds[name] for name in {*plan.phases, "deletion"}))
    async with connect(await access(plan.kubeconfig)) as client:
        if problem := await generator.missing(client):
            raise CannotMeasure(problem)
        await generator.delete_all(client, progress.say)  # what a run that was killed left
        try:
            await generator.create_namespaces(client)
            async with _session(plan, client, progress) as session:
                await _Run(plan, session, progress, done).all()
        finally:
            with progress.part("clean-up", plan.seconds["deletion"]):
                await generator.delete_all(client, progress.say)


@dataclass
class _Run:
    plan: Plan
    session: Session
    progress: Progress
    done: list[Phase]

    async def all(self) -> None:
        """Every phase with the first number of services; with the others only the phases that show growth."""
        with self.progress.part("start", 10):
            await self.session.rest(await self.session.start_operator(**self.plan.settings))
        first, *more = self.plan.services
        await self._phase("create", first, phases.create, 0, first)
        await self._idle(first)
        for phase in (phases.restart, phases.edit, phases.settings):
            await self._phase(phase.__name__, first, phase, first)
        there = first
        for services in more:
            await self._grow(there, services)
            there = services
        for fault in (faults.crash, faults.outage):
            if await self._phase(fault.__name__, there, fault, there):
                there += faults.NEW_SERVICES
        if foreign := self.plan.foreign:
            with self.progress.part(f"creating {foreign:,} objects of others", 60):
                await generator.create_foreign(self.session.client, foreign)
            await self._grow(there, there + first, foreign)
            await self._idle(there + first, foreign)

    async def _grow(self, there: int, services: int, foreign: int = 0) -> None:
        await self._phase("create", services, phases.create, there, services, foreign, self.done[0])
        await self._phase("restart", services, phases.restart, services, foreign)

    async def _idle(self, services: int, foreign: int = 0) -> None:
        await self._phase("idle", services, phases.idle, services, self.plan.idle_minutes, foreign)

    async def _phase(self, name: str, services: int, phase: Callable[..., Awaitable[Phase]], *args: Any) -> bool:
        """Whether the phase is part of the run."""
        if name not in self.plan.phases:
            return False
        with self.progress.part(f"{name}, {services:,} services", self.plan.seconds[name]):
            self.done.append(done := await phase(self.session, *args))
            self.progress.say(", ".join(f"{figure} {_short(value)}" for figure, value in done.figures.items()))
        return True


@asynccontextmanager
async def _session(plan: Plan, client: Client, progress: Progress) -> AsyncIterator[Session]:
    argv: Sequence[str] = (sys.executable, "-m", "bench.operator.proxy", str(plan.kubeconfig))
    fleet = Fleet()
    with Tree(argv, {"PYTHONPATH": str(ROOT)}, plan.directory / "proxy.log", piped=True) as proxy:
        assert proxy.process.stdout
        line = proxy.process.stdout.readline()
        if not line:
            raise CannotMeasure(f"the proxy did not start: {proxy.last_words()}")
        port, controls = json.loads(line)
        kubeconfig = plan.directory / "kubeconfig"
        kubeconfig.write_text(_kubeconfig(f"http://127.0.0.1:{port}"))

        def start(settings: Mapping[str, str]) -> Operator:
            return Operator(kubeconfig, plan.directory, settings)

        async with aiohttp.ClientSession() as http, feed(fleet, client):
            with Session(
                client, fleet, Controls(http, controls), start=start, say=progress.say, limit=plan.limit
            ) as session:
                yield session


def _kubeconfig(server: str) -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "bench",
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
            "clusters": [{"name": "bench", "cluster": {"server": server}}],
            "users": [{"name": "bench", "user": {}}],
        }
    )


def _short(value: float | None) -> str:
    return "not reached" if value is None else f"{value:.4g}"
