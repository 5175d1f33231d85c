"""A database that takes no connections: services wait for it, say so, and go on by themselves when it does."""

import asyncio
import contextlib

import asyncpg
import httpx
import pytest

from support.mesh import Mesh
from support.waiting import eventually, eventually_sync
from ucmesh_embedded import topology

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

HOG = {"application_name": "hog"}


def health(mesh: Mesh, name: str, kind: str) -> httpx.Response:
    return httpx.get(f"{mesh.endpoints.url(name)}/health/{kind}", timeout=10, trust_env=False)


def serves(mesh: Mesh, name: str, kind: str, status: int) -> bool:
    try:
        return health(mesh, name, kind).status_code == status
    except httpx.HTTPError:
        return False


def test_a_service_that_starts_without_its_database_waits_and_says_so(mesh: Mesh) -> None:
    started = {}
    with mesh.without("postgres"):
        for name in topology.SERVICES:
            mesh.kill(name)
        for name in topology.SERVICES:
            eventually_sync(lambda name=name: serves(mesh, name, "live", 200), seconds=30, what=f"{name} up")
            assert health(mesh, name, "startup").status_code == 503
            assert health(mesh, name, "ready").json()["status"] == "not ready"
            with mesh.client(name) as client:
                answer = client.get("/dead-letters")
            assert (answer.status_code, answer.json()["code"]) == (503, "starting")
            started[name] = mesh.stack.pid(name)
    for name in topology.SERVICES:
        eventually_sync(lambda name=name: serves(mesh, name, "ready", 200), seconds=30, what=f"{name} ready")
        assert health(mesh, name, "startup").status_code == 200
        with mesh.client(name) as client:
            assert client.get("/dead-letters").status_code == 200
    assert {name: mesh.stack.pid(name) for name in topology.SERVICES} == started, "none ended and came back"
    for name in topology.SERVICES:
        mesh.settled(name)


class Hog:
    """Another client of the server, which takes every connection there is, those of one service included."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._held: list[asyncpg.Connection] = []

    async def take_all(self) -> bool:
        """Whether the service has none left."""
        if self._held:
            await self._held[0].execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE usename = current_user AND application_name <> 'hog'"
            )
        with contextlib.suppress(asyncpg.TooManyConnectionsError):
            while True:
                self._held.append(await asyncpg.connect(self._url, timeout=20, server_settings=HOG))
        theirs = "SELECT count(*) FROM pg_stat_activity WHERE usename = current_user AND application_name <> 'hog'"
        return await self._held[0].fetchval(theirs) == 0

    async def leave(self) -> None:
        await asyncio.gather(*(held.close(timeout=20) for held in self._held), return_exceptions=True)


@pytest.mark.parametrize("name", topology.SERVICES)
async def test_exhausted_connections_are_said_and_pass(mesh: Mesh, name: str) -> None:
    before = mesh.stack.pid(name)
    hog = Hog(mesh.stack.wiring.database_url(name))
    try:
        await eventually(hog.take_all, seconds=30, what="every connection taken")
        await eventually(lambda: serves(mesh, name, "ready", 503), what="not ready")
        assert health(mesh, name, "ready").json()["checks"] == {"database": "failed"}
        assert health(mesh, name, "live").status_code == 200
        with mesh.client(name) as client:
            answer = client.get("/dead-letters")
        assert (answer.status_code, answer.json()["retryable"]) == (503, True)
    finally:
        await hog.leave()
    await eventually(lambda: serves(mesh, name, "ready", 200), seconds=30, what="ready again")
    with mesh.client(name) as client:
        assert client.get("/dead-letters").status_code == 200
    assert mesh.stack.pid(name) == before, "it did not end"
