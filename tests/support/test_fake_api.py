"""The fake API server: the scenarios that hold for the real one, then what only a fake can do."""

import asyncio

import aiohttp
import pytest
from support.api_scenarios import SCENARIOS, Api
from support.fake_api import fake_api


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_the_fake_api_server_is_like_the_real_one(scenario: str) -> None:
    async with fake_api() as fake, aiohttp.ClientSession() as session, asyncio.timeout(10):
        await SCENARIOS[scenario](Api(session, fake.url, "default"))
