import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler
from yarl import URL

from bench.operator.client import Access
from bench.operator.counts import Counts
from bench.operator.proxy import serve

DEPLOYMENTS = "/apis/apps/v1/namespaces/a/deployments"


@asynccontextmanager
async def an_api_server(handle: Handler) -> AsyncIterator[Access]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield Access(URL(f"http://127.0.0.1:{site.port}"), tls=True, headers={"Authorization": "Bearer admin"})
    finally:
        await runner.cleanup()


@asynccontextmanager
async def a_proxy(handle: Handler) -> AsyncIterator[tuple[aiohttp.ClientSession, aiohttp.ClientSession]]:
    """A client of the operator's port, and one of the controls."""
    async with (
        an_api_server(handle) as to,
        serve(to) as (port, controls),
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as operator,
        aiohttp.ClientSession(f"http://127.0.0.1:{controls}") as control,
    ):
        yield operator, control


async def echo(request: web.Request) -> web.Response:
    told = {
        "path": request.raw_path,
        "method": request.method,
        "body": await request.text(),
        "headers": dict(request.headers),
    }
    return web.json_response(told, status=201, headers={"Audit-Id": "1"})


async def counts(control: aiohttp.ClientSession) -> Counts:
    async with control.get("/counts") as response:
        return Counts.from_json(await response.json())


async def test_a_request_and_its_answer_pass_through_as_they_are() -> None:
    async with a_proxy(echo) as (operator, _):
        url = URL(f"{DEPLOYMENTS}?labelSelector=a%3Db%2Cc&limit=500", encoded=True)
        async with operator.post(url, data="{}", headers={"Content-Type": "application/json"}) as response:
            told = await response.json()

    assert (response.status, response.headers["Audit-Id"]) == (201, "1")
    assert (told["method"], told["path"], told["body"]) == ("POST", str(url), "{}")
    assert told["headers"]["Content-Type"] == "application/json"


async def test_the_api_server_sees_the_credentials_of_the_kubeconfig() -> None:
    async with a_proxy(echo) as (operator, _), operator.get("/version") as response:
        assert (await response.json())["headers"]["Authorization"] == "Bearer admin"


async def test_requests_are_counted_by_verb_and_resource_with_the_bytes_of_their_bodies() -> None:
    async with a_proxy(echo) as (operator, control):
        received = 0
        for _ in range(2):
            async with operator.post(DEPLOYMENTS, data="12345") as response:
                received += len(await response.read())
        found = await counts(control)

    assert found.requests == {"create deployments": 2}
    assert (found.sent, found.received) == (10, received)


async def test_answers_of_400_and_above_are_counted_by_status() -> None:
    async def conflict(_: web.Request) -> web.Response:
        return web.Response(status=409)

    async with a_proxy(conflict) as (operator, control):
        async with operator.post(DEPLOYMENTS) as response:
            assert response.status == 409
        assert (await counts(control)).failures == {"409": 1}


async def test_the_events_of_a_watch_pass_while_it_goes_on() -> None:
    more = asyncio.Event()

    async def watch(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"n": 1}\n')
        await more.wait()
        await response.write(b'{"n": 2}\n')
        return response

    async with a_proxy(watch) as (operator, _), operator.get(f"{DEPLOYMENTS}?watch=true") as response:
        assert json.loads(await response.content.readline()) == {"n": 1}
        more.set()
        assert json.loads(await response.content.readline()) == {"n": 2}


async def test_a_watch_that_the_operator_leaves_ends_at_the_api_server_too() -> None:
    left = asyncio.Event()

    async def watch(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"{}\n")
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        return response

    async with a_proxy(watch) as (operator, _):
        async with operator.get(f"{DEPLOYMENTS}?watch=true") as response:
            await response.content.readline()
            response.close()
        await asyncio.wait_for(left.wait(), 10)


async def test_a_cut_ends_watches_and_refuses_requests_until_the_port_is_restored() -> None:
    async def watch(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        if "watch" in request.query:
            await response.write(b"{}\n")
            await asyncio.Event().wait()
        return response

    async with a_proxy(watch) as (operator, control):
        async with operator.get(f"{DEPLOYMENTS}?watch=true") as response:
            await response.content.readline()
            async with control.post("/cut"):
                pass
            with pytest.raises(aiohttp.ClientError):
                await response.content.readline()
        with pytest.raises(aiohttp.ClientConnectorError):
            await operator.get(DEPLOYMENTS)

        async with control.post("/restore"), operator.get(DEPLOYMENTS) as response:
            assert response.status == 200


async def test_an_api_server_that_is_away_is_a_connection_that_closes() -> None:
    async with an_api_server(echo) as gone:
        pass
    async with serve(gone) as (port, _), aiohttp.ClientSession() as operator:
        with pytest.raises(aiohttp.ClientConnectionError):
            await operator.get(f"http://127.0.0.1:{port}/version")
