"""A replica is drained while another one goes on: it ends what it holds, takes nothing more, and nothing is lost."""

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_messaging.message import InboundMessage
from mesh_runtime.health import Health
from mesh_runtime.http import create_app
from mesh_runtime.roles import Role
from mesh_runtime.testing import StaticVerifier
from support.messaging import DID, Place, event, running, write_effects
from support.waiting import eventually

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


def door(health: Health, *scopes: str) -> httpx.AsyncClient:
    app = create_app(
        title="t",
        version="1",
        description="d",
        verifier=StaticVerifier({"t": frozenset(scopes)}),
        health=health,
        routers=[],
    )
    transport = httpx.ASGITransport(app=app)
    return httpx.AsyncClient(transport=transport, base_url="http://t", headers={"Authorization": "Bearer t"})


async def test_a_drained_consumer_ends_its_batch_takes_no_more_and_the_other_one_goes_on(place: Place) -> None:
    health = Health()
    health.started()
    handling, may_end = asyncio.Event(), asyncio.Event()
    drained_calls: list[int] = []

    async def slow(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        drained_calls.append(len(messages))
        handling.set()
        await may_end.wait()
        await write_effects(tx, messages)

    events: list[tuple[str | None, Any]] = [(f"k{n % 8}", event(n, key=f"k{n % 8}")) for n in range(200)]
    await place.produce(events)
    (role,) = health.drain.watch([Role("consumer", place.consumer_of({DID: slow}, batch_size_max=50).run)])
    async with door(health, "mesh.admin", "mesh.read") as client, running(role.run):
        await handling.wait()
        assert (await client.get("/drain")).json() == {"state": "working", "busy": ["consumer"]}
        assert (await client.post("/drain")).json() == {"state": "draining", "busy": ["consumer"]}
        assert (await client.get("/health/ready")).status_code == 503
        assert await place.effects() == []
        may_end.set()
        await eventually(lambda: is_drained(client), seconds=60, what="the end of the drain")
        assert (await client.post("/drain")).json() == {"state": "drained", "busy": []}
        assert len(await place.effects()) == sum(drained_calls)
        # What it held: a full poll, and what lay ready beside it.
        assert (held := len(drained_calls)) <= 2
        async with running(place.consumer_of().run):
            await eventually(lambda: has_effects(place, 200), seconds=60, what="all effects")
        assert len(drained_calls) == held
    assert sorted(await place.effects()) == list(range(200))
    assert await place.effects_by_key() == {f"k{k}": list(range(k, 200, 8)) for k in range(8)}


@pytest.mark.parametrize(("scopes", "status"), [(["mesh.read"], 403), ([], 403), (["mesh.admin"], 202)])
async def test_only_an_administrator_drains(scopes: list[str], status: int) -> None:
    health = Health()
    async with door(health, *scopes) as client:
        assert (await client.post("/drain")).status_code == status
    assert health.drain.state == ("drained" if status == 202 else "working")


async def is_drained(client: httpx.AsyncClient) -> bool:
    return bool((await client.get("/drain")).json()["state"] == "drained")


async def has_effects(place: Place, count: int) -> bool:
    return len(await place.effects()) >= count
