"""Two operators, one Lease: whatever happens, never two at work."""

import asyncio
import copy
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_operator.errors import Conflict, LeaseLost, NotFound, Unavailable
from embedding_operator.kinds import Kind
from embedding_operator.shell.client import Client, Json
from embedding_operator.shell.leader import Leader, LeaseConfig
from support.clock import ManualClock, settle


class OneLease(Client):
    """An API server with one object, or none. `trouble`: `down` answers nothing; `deaf` does it and answers nothing."""

    def __init__(self) -> None:
        self.lease: Json | None = None
        self.trouble = ""
        self.writes = 0

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Json:
        if self.trouble == "down":
            raise Unavailable("down")
        if self.lease is None:
            raise NotFound(name)
        return copy.deepcopy(self.lease)

    async def create(self, kind: Kind, obj: Json) -> Json:
        if self.lease is not None:
            raise Conflict("there is one")
        return self._store(obj)

    async def replace(self, kind: Kind, obj: Json, *, subresource: str | None = None) -> Json:
        if self.lease is None:
            raise NotFound("lease")
        if obj["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise Conflict("changed")
        return self._store(obj)

    def _store(self, obj: Json) -> Json:
        if self.trouble == "down":
            raise Unavailable("down")
        self.writes += 1
        self.lease = copy.deepcopy({**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.writes)}})
        if self.trouble == "deaf":
            raise Unavailable("no answer in time")
        return copy.deepcopy(self.lease)

    @property
    def spec(self) -> dict[str, Any]:
        assert self.lease is not None
        spec: dict[str, Any] = self.lease["spec"]
        return spec


class Election:
    """Two candidates, each with its own view of one API server, and one clock."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.server = OneLease()
        self.a, self.b = self.candidate("a"), self.candidate("b")

    def candidate(self, me: str) -> Leader:
        config = LeaseConfig(namespace="system", name="operator", me=me, duration=15)
        return Leader(self.server, config, self.clock, lambda: datetime(2026, 1, 1, tzinfo=UTC))


async def test_the_first_to_ask_leads_and_the_second_waits() -> None:
    election = Election()
    assert await election.a._try()
    assert not await election.b._try()
    assert election.a.leads()
    assert not election.b.leads()


async def test_a_leader_that_renews_is_never_replaced() -> None:
    election = Election()
    for _ in range(50):
        assert await election.a._try()
        assert not await election.b._try()
        election.clock.now += 9


async def test_a_dead_leader_is_replaced_after_the_duration_and_not_before() -> None:
    election = Election()
    await election.a._try()
    assert not await election.b._try()
    election.clock.now += 14.9
    assert not await election.b._try()
    election.clock.now += 0.1
    assert await election.b._try()
    assert election.server.spec["leaseTransitions"] == 1


async def test_a_leader_that_cannot_renew_stops_before_another_may_begin() -> None:
    election = Election()
    await election.a._try()
    await election.b._try()
    election.server.trouble = "down"
    election.clock.now += 10
    assert not await election.a._try()
    assert not election.a.leads()


async def test_a_lease_given_back_is_taken_at_once() -> None:
    election = Election()
    await election.a._try()
    assert not await election.b._try()
    await election.a.release()
    assert not election.a.leads()
    assert await election.b._try()


async def test_a_renewal_whose_answer_was_lost_is_still_given_back() -> None:
    election = Election()
    await election.a._try()
    election.server.trouble = "deaf"
    assert not await election.a._try()
    election.server.trouble = ""
    await election.a.release()
    assert election.server.spec["holderIdentity"] == ""


async def test_what_is_another_s_is_not_given_back() -> None:
    election = Election()
    await election.a._try()
    await election.b._try()
    election.clock.now += 15
    await election.b._try()
    await election.a.release()
    assert election.server.spec["holderIdentity"] == "b"


async def test_a_lease_that_somebody_deleted_is_made_again_by_one() -> None:
    election = Election()
    await election.a._try()
    election.server.lease = None
    assert await election.a._try()
    assert not await election.b._try()


async def test_a_holder_that_is_silent_for_half_of_the_duration_is_likely_to_be_replaced() -> None:
    election = Election()
    await election.a._try()
    waiting = asyncio.create_task(election.b.acquire())
    await election.clock.advance(7)
    assert not election.b.soon.is_set()
    await election.clock.advance(3)
    assert election.b.soon.is_set()
    assert not election.b.leads()
    await election.clock.advance(6)
    await waiting
    assert election.b.leads()


async def test_a_holder_that_renews_after_a_silence_keeps_the_lease() -> None:
    election = Election()
    await election.a._try()
    waiting = asyncio.create_task(election.b.acquire())
    await election.clock.advance(10)
    await election.a._try()
    await election.clock.advance(3)
    with pytest.raises(LeaseLost, match="a renewed the Lease"):
        await waiting
    await election.b.release()
    assert not election.b.soon.is_set()
    assert election.server.spec["holderIdentity"] == "a"


async def test_an_api_server_that_does_not_answer_says_nothing_about_the_holder() -> None:
    election = Election()
    await election.a._try()
    waiting = asyncio.create_task(election.b.acquire())
    await settle()
    election.server.trouble = "down"
    await election.clock.advance(14)
    assert not election.b.soon.is_set()
    waiting.cancel()
    await settle()


async def test_holding_ends_when_another_has_the_lease() -> None:
    election = Election()
    await election.a.acquire()
    election.server._store(
        {**(election.server.lease or {}), "spec": {"holderIdentity": "b", "leaseDurationSeconds": 15}}
    )
    holding = asyncio.create_task(election.a.hold())
    await election.clock.advance(3)
    with pytest.raises(LeaseLost, match="went to b"):
        await holding


async def test_holding_outlasts_an_api_server_that_is_away_for_a_moment() -> None:
    election = Election()
    await election.a.acquire()
    holding = asyncio.create_task(election.a.hold())
    election.server.trouble = "down"
    await election.clock.advance(8)
    election.server.trouble = ""
    await election.clock.advance(30)
    assert not holding.done()
    holding.cancel()
    await settle()


async def test_holding_outlasts_an_api_server_that_stays_away_but_leading_does_not() -> None:
    election = Election()
    await election.a.acquire()
    holding = asyncio.create_task(election.a.hold())
    election.server.trouble = "down"
    await election.clock.advance(60)
    assert not holding.done()
    assert not election.a.leads()
    election.server.trouble = ""
    await election.clock.advance(5)
    assert election.a.leads()
    holding.cancel()
    await settle()


async def test_holding_ends_when_another_took_the_lease_while_the_api_server_was_away() -> None:
    election = Election()
    await election.a.acquire()
    holding = asyncio.create_task(election.a.hold())
    election.server.trouble = "down"
    await election.clock.advance(20)
    election.server.trouble = ""
    assert not await election.b._try()  # its first look
    election.clock.now += 15
    assert await election.b._try()
    await election.clock.advance(5)
    with pytest.raises(LeaseLost, match="went to b"):
        await holding


async def test_who_waits_to_lead_again_is_woken_by_the_renewal() -> None:
    election = Election()
    await election.a.acquire()
    election.clock.now += 60
    waiting = asyncio.create_task(election.a.leading())
    await settle()
    assert not waiting.done()
    await election.a._try()
    await settle()
    assert waiting.done()


async def test_what_is_left_shrinks_with_time_and_grows_with_a_renewal() -> None:
    election = Election()
    await election.a.acquire()
    assert election.a.seconds_left() == 10
    election.clock.now += 4
    assert election.a.seconds_left() == 6
    await election.a._try()
    assert election.a.seconds_left() == 10


async def test_waiting_writes_nothing() -> None:
    election = Election()
    await election.a._try()
    waiting = asyncio.create_task(election.b.acquire())
    await election.clock.advance(14)
    assert election.server.writes == 1
    waiting.cancel()
    await settle()


steps = st.lists(
    st.one_of(
        st.floats(0.1, 20),
        st.sampled_from(["a tries", "b tries", "a gives back", "b gives back", "down", "deaf", "fine"]),
    ),
    max_size=40,
)


@given(steps=steps)
def test_two_never_lead_at_once_whatever_happens(steps: list[float | str]) -> None:
    async def play() -> None:
        election = Election()
        for step in steps:
            if isinstance(step, float):
                election.clock.now += step
            elif step in {"down", "deaf", "fine"}:
                election.server.trouble = step.replace("fine", "")
            else:
                who = election.a if step[0] == "a" else election.b
                await (who._try() if step.endswith("tries") else who.release())
            assert not (election.a.leads() and election.b.leads()), step

    asyncio.run(play())
