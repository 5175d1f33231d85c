"""A person alone overtakes a bulk: whatever the bulk has asked and been told lies there, and nobody waits behind it."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer

from mesh_messaging.envelope import CloudEvent, to_headers
from support.joiners import Office
from support.mesh import Mesh
from support.waiting import eventually

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.timeout(300)]

BULK = 21
"""More than 20 at once are a bulk. Northwind has licences for some of them only."""
LINES = {
    "orchestrator": ("ucmesh.orchestrator-bulk.replies.v1", "ucmesh.graph.operation.v1.completed"),
    "graph-adapter": ("ucmesh.graph-bulk.commands.v1", "ucmesh.graph.operation.v1.execute"),
    "pwsh-gateway": ("ucmesh.pwsh-bulk.commands.v1", "ucmesh.pwsh.operation.v1.execute"),
}
"""What each service reads of a bulk, and a type of message there."""


async def test_a_person_alone_ends_while_the_messages_of_a_bulk_are_still_there(office: Office) -> None:
    """Every service is held in the middle of a batch of its bulk topic, so all that comes there stays there."""
    bulk = [office.person(department="Finance") for _ in range(BULK)]
    alone = office.person(department="Sales")
    async with contextlib.AsyncExitStack() as held:
        for service in LINES:
            await held.enter_async_context(held_up(office.mesh, service))
        await asyncio.to_thread(office.send, *bulk)
        await asyncio.to_thread(office.send, alone)
        person = await asyncio.to_thread(office.wait, alone)
        assert person["status"] == "provisioned", person["reason"]
        assert await asyncio.to_thread(statuses, office, bulk) == {"planning"}
    ends = {(await asyncio.to_thread(office.wait, data))["status"] for data in bulk}
    assert ends <= {"provisioned", "refused"}


def statuses(office: Office, people: list[dict[str, Any]]) -> set[str]:
    found = [office.api.get(f"/people/northwind/{data['employee_id']}").raise_for_status() for data in people]
    return {answer.json()["status"] for answer in found}


@contextlib.asynccontextmanager
async def held_up(mesh: Mesh, service: str) -> AsyncIterator[None]:
    """One message of its bulk topic waits in the service's inbox for a transaction of ours that has the same message.

    In the end it is known there, so that nothing is left of it.
    """
    topic, kind = LINES[service]
    event = CloudEvent(f"hold-{uuid.uuid4().hex}", "/test", kind, datetime.now(UTC), None, None, b"{}")
    connection = await asyncpg.connect(mesh.stack.wiring.database_url(service))
    producer = AIOKafkaProducer(bootstrap_servers=mesh.endpoints.kafka)
    try:
        async with connection.transaction():
            await connection.execute(
                "INSERT INTO inbox (consumer, source, id) VALUES ($1, $2, $3)", service, event.source, event.id
            )
            await producer.start()
            await producer.send_and_wait(topic, event.data, headers=to_headers(event))
            await eventually(lambda: waits_for(connection), what=f"{service} to wait for us")
            yield
    finally:
        await producer.stop()
        await connection.close()


async def waits_for(connection: asyncpg.Connection) -> bool:
    return bool(
        await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))"
        )
    )
