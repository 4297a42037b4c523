"""Two phases with faults: the operator is killed, and the API server is unreachable."""

import asyncio

from bench.operator import generator
from bench.operator.operator_process import OperatorEnded
from bench.operator.phases import phase_of, seconds_after
from bench.operator.results import Phase
from bench.operator.session import Session

__all__ = ["NEW_SERVICES", "crash", "outage"]

NEW_SERVICES = 30
"""Services that each of the two phases creates."""
_BEFORE_THE_CRASH = 10
_OUTAGE = 60.0
"""Seconds."""


async def crash(session: Session, there: int) -> Phase:
    """SIGKILL while services are created; the next process must wait until the Lease expires."""
    services = there + NEW_SERVICES
    async with asyncio.TaskGroup() as group:
        group.create_task(generator.create_services(session.client, there, services))
        await session.until(lambda: session.fleet.level, there + _BEFORE_THE_CRASH, "services are level")
        session.operator.kill()
        begin = await session.start_operator()
    level = await session.until(lambda: session.fleet.level, services, "services are level")
    await session.rest(begin)
    used = (await session.now()).since(begin)
    return phase_of(
        "crash",
        session,
        used,
        services=services,
        level_seconds=seconds_after(begin.at, level),
        writes=used.counts.writes,
    )


async def outage(session: Session, there: int) -> Phase:
    """No connection to the API server for a minute, during which services are created."""
    services = there + NEW_SERVICES
    begin = await session.now()
    await session.controls.cut()
    await generator.create_services(session.client, there, services)
    await asyncio.sleep(_OUTAGE)
    exits = 0
    try:
        session.operator.cpu_seconds()
    except OperatorEnded as ended:
        session.say(str(ended))
        exits = 1
    restored = await session.controls.restore()
    if exits:  # as the kubelet would
        begin = await session.start_operator()
    level = await session.until(lambda: session.fleet.level, services, "services are level")
    await session.rest(begin)
    used = (await session.now()).since(begin)
    return phase_of(
        "outage",
        session,
        used,
        services=services,
        level_seconds=seconds_after(restored, level),
        exits=exits,
        writes=used.counts.writes,
        cpu_seconds=used.cpu_seconds,
    )
