"""The phases of the benchmark and their figures."""

import asyncio
import secrets
import time

from bench.operator import generator
from bench.operator.results import Phase
from bench.operator.session import Moment, Session

__all__ = ["create", "edit", "idle", "phase_of", "restart", "seconds_after", "settings"]


async def create(session: Session, first: int, last: int, foreign: int = 0, smaller: Phase | None = None) -> Phase:
    """Creates services `first` to `last` as fast as the API server accepts them; `smaller` is for comparison."""
    new = last - first
    begin = await session.now()
    async with asyncio.TaskGroup() as group:
        group.create_task(generator.create_services(session.client, first, last))
        level = await session.until(lambda: session.fleet.level, last, "services are level")
    rest = await session.rest(begin)
    used = (await session.now()).since(begin)
    counts = used.counts
    per_service = {
        "cpu_ms_per_service": 1000 * used.cpu_seconds / new,
        "writes_per_service": counts.writes / new,
        "reads_per_service": (counts.gets + counts.lists) / new,
        "sent_kib_per_service": counts.sent / new / 1024,
        "received_kib_per_service": counts.received / new / 1024,
    }
    ratios = {
        f"{name}_ratio": per_service[figure] / of_smaller
        for name, figure in (("cpu", "cpu_ms_per_service"), ("writes", "writes_per_service"))
        if smaller and (of_smaller := smaller.figures[figure])
    }
    return phase_of(
        "create",
        session,
        used,
        services=last,
        foreign=foreign,
        level_seconds=seconds_after(begin.at, level),
        rest_seconds=seconds_after(begin.at, rest),
        cpu_seconds=used.cpu_seconds,
        **per_service,
        **ratios,
    )


async def idle(session: Session, services: int, minutes: float, foreign: int = 0) -> Phase:
    """No changes; the operator is idle."""
    begin = await session.now()
    while (gone := (time.monotonic() - begin.at) / 60) < minutes:
        session.say(f"{gone:.0f} of {minutes:g} minutes")
        await asyncio.sleep(60 * min(1, minutes - gone))
    used = (await session.now()).since(begin)
    return phase_of(
        "idle",
        session,
        used,
        services=services,
        foreign=foreign,
        cpu_percent=100 * used.cpu_seconds / used.at,
        writes=used.counts.writes,
        gets=used.counts.gets,
        lists=used.counts.lists,
    )


async def restart(session: Session, services: int, foreign: int = 0) -> Phase:
    """A new process starts; all objects are up to date."""
    begin = await session.start_operator()
    rest = await session.rest(begin)
    used = (await session.now()).since(begin)
    return phase_of(
        "restart",
        session,
        used,
        services=services,
        foreign=foreign,
        level_seconds=seconds_after(begin.at, rest),
        cpu_seconds=used.cpu_seconds,
        writes=used.counts.writes,
        reads=used.counts.gets + used.counts.lists,
        received_mib=used.counts.received / 2**20,
    )


async def edit(session: Session, services: int, foreign: int = 0) -> Phase:
    """Changes the ClusterStorageContainer that three of ten services use."""
    marker = f"edit-{secrets.token_hex(4)}"
    concerned = sum(generator.is_fetched_by_ours(index) for index in range(services))
    session.fleet.expect(marker)
    begin = await session.now()
    await generator.edit_storage_container(session.client, marker)
    done = await session.until(lambda: session.fleet.marked, concerned, "services have the edit")
    await session.rest(begin)
    used = (await session.now()).since(begin)
    return phase_of(
        "edit",
        session,
        used,
        services=services,
        foreign=foreign,
        concerned=concerned,
        done_seconds=seconds_after(begin.at, done),
        most_at_once=session.fleet.most_under_way,
        deployment_writes_per_concerned=_deployment_writes(used) / concerned if concerned else None,
        writes=used.counts.writes,
        cpu_seconds=used.cpu_seconds,
    )


async def settings(session: Session, services: int, foreign: int = 0) -> Phase:
    """Restarts the operator with another image for services on CPUs."""
    marker = f"bench-{secrets.token_hex(4)}"
    session.fleet.expect(marker)
    images = f'{{"cpu": "embedding-runtime:{marker}", "nvidia.com/gpu": "embedding-runtime:cuda"}}'
    begin = await session.start_operator(RUNTIME_IMAGES=images)
    done = await session.until(lambda: session.fleet.marked, services, "services have the new image")
    rest = await session.rest(begin)
    used = (await session.now()).since(begin)
    return phase_of(
        "settings",
        session,
        used,
        services=services,
        foreign=foreign,
        done_seconds=seconds_after(begin.at, done),
        rest_seconds=seconds_after(begin.at, rest),
        most_at_once=session.fleet.most_under_way,
        deployment_writes_per_service=_deployment_writes(used) / services,
        writes_per_service=used.counts.writes / services,
        cpu_seconds=used.cpu_seconds,
    )


def phase_of(
    name: str, session: Session, used: Moment, *, services: int, foreign: int = 0, **figures: float | None
) -> Phase:
    """The result of a phase that ends now: its own figures and those of every phase."""
    memory = session.operator.memory()
    return Phase(
        name=name,
        services=services,
        foreign=foreign,
        figures={**figures, "waited_seconds": used.waited_seconds, "rss_mib": memory.now, "peak_rss_mib": memory.peak},
        requests=dict(used.counts.requests),
        failures=dict(used.counts.failures),
    )


def seconds_after(begin: float, moment: float | None) -> float | None:
    """Seconds until the moment; None if it did not come."""
    return None if moment is None else moment - begin


def _deployment_writes(used: Moment) -> int:
    writes = ("create deployments", "patch deployments", "update deployments")
    return sum(used.counts.requests[each] for each in writes)
