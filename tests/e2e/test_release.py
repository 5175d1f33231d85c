"""A release with work in flight: each replica of each service is replaced in turn while HR goes on sending."""

import asyncio
import itertools
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import httpx
import pytest

from mesh_runtime import migrations
from support import joiners, migration_sql
from support.joiners import Office
from support.mesh import Mesh, running
from ucmesh_embedded import topology
from ucmesh_embedded.replicas import replica_names

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.timeout(600)]

REPLICAS = 2
LINGER_SECONDS = 5.0
HEALTH_EVERY_SECONDS = 1.0
SEND_EVERY_SECONDS = 0.1
BULK = 21
"""People in one request, enough for the bulk lane; each service is replaced with some of them under way."""
NEW_EVERY = 6
"""Each so many requests bring somebody new; the others the last event again, as an HR system does that is not sure."""
SEATS = 5_000
SALES_SHARE = 0.1
"""Of those who join; they get a telephone number, and Northwind has few."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """Two replicas of each service, which found the schema before its newest migration; Northwind is registered."""
    options = joiners.options(replicas=REPLICAS, pwsh=False)
    options.environment["orchestrator"]["ORCHESTRATOR_HTTP_LINGER_SECONDS"] = str(LINGER_SECONDS)
    with running(tmp_path_factory.mktemp("release"), options, topology.SERVERS) as mesh:
        asyncio.run(migrate_but_the_newest(mesh))
        mesh.start()
        office = Office(mesh)
        path = f"/_sim/tenants/{joiners.NORTHWIND}/skus"
        for sku in ("SPE_E5", "SPE_E3"):
            office.simulator.patch(f"{path}/{sku}", json={"seats": SEATS}).raise_for_status()
        office.register("northwind")
        yield office


class Balancer:
    """What stands in front of the intake: it asks each replica for its readiness, and sends a request to a ready one.

    A request is sent once. Whatever becomes of it is kept: a refused one is a failed release.
    """

    def __init__(self, mesh: Mesh) -> None:
        self.refused: list[str] = []
        self.taken: list[dict[str, Any]] = []
        self._urls = [mesh.endpoints.url(name) for name in replica_names("orchestrator", REPLICAS)]
        self._headers = {"Authorization": f"Bearer {mesh.token()}"}
        self._ready: list[str] = []
        self._end = threading.Event()

    @contextmanager
    def sending(self, office: Office) -> Iterator[None]:
        """People join for the length of the block."""
        threads = [threading.Thread(target=self._watch), threading.Thread(target=self._send, args=(office,))]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._end.set()
            for thread in threads:
                thread.join()

    def _watch(self) -> None:
        while not self._end.wait(HEALTH_EVERY_SECONDS):
            self._ready = [url for url in self._urls if self._is_ready(url)]

    @staticmethod
    def _is_ready(url: str) -> bool:
        try:
            return httpx.get(f"{url}/health/ready", timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def _send(self, office: Office) -> None:
        draw = random.Random(1)
        for turn in itertools.count():
            if self._end.wait(SEND_EVERY_SECONDS):
                return
            if not self._ready:
                self.refused += ["no replica was ready"] if self.taken else []
                continue
            if turn % NEW_EVERY == 0 or not self.taken:
                data = office.person(department="Sales" if draw.random() < SALES_SHARE else "Finance")
            else:
                data = self.taken[-1]
            refusal = self._post(draw.choice(self._ready), data)
            if refusal:
                self.refused.append(f"{time.strftime('%X')} {refusal}")
            elif data not in self.taken[-1:]:
                self.taken.append(data)

    def _post(self, url: str, data: dict[str, Any]) -> str:
        """Empty when the event was taken."""
        event = joiners.cloudevent(data, f"release-{data['employee_id']}")
        headers = {**self._headers, "content-type": "application/cloudevents+json"}
        try:
            answer = httpx.post(f"{url}/hr/events", json=event, headers=headers, timeout=30, trust_env=False)
        except httpx.HTTPError as error:
            return repr(error)
        return "" if answer.status_code == 202 else f"{answer.status_code} {answer.text}"


def test_replacing_every_replica_one_at_a_time_loses_and_refuses_nothing(pair: Office) -> None:
    balancer = Balancer(pair.mesh)
    sent: list[dict[str, Any]] = []
    with balancer.sending(pair):
        pair.until(lambda: len(balancer.taken) >= 3, "traffic")
        for service in topology.SERVICES:
            bulk = [pair.person(department="Finance") for _ in range(BULK)]
            pair.send(*bulk)
            sent += bulk
            first, *others = replica_names(service, REPLICAS)
            pair.mesh.restart(first)
            expand(pair.mesh, service)  # the first replica of the new release migrates; the others still run
            for name in others:
                pair.mesh.restart(name)
    assert balancer.refused == []
    sent += balancer.taken
    ended = [pair.wait(data) for data in sent]
    assert [(p["employee_id"], p["status"], p["reason"]) for p in ended if p["status"] != "provisioned"] == []
    by_department: dict[str, list[dict[str, Any]]] = {}
    for data in sent:
        by_department.setdefault(data["person"]["department"], []).append(pair.proof(data))
    for proofs in by_department.values():
        assert all(proof == proofs[0] for proof in proofs)
    for service in topology.SERVICES:
        with pair.mesh.client(service) as client:
            assert client.get("/dead-letters").raise_for_status().json()["items"] == []


async def migrate_but_the_newest(mesh: Mesh) -> None:
    """What the release before left: every database at its last revision but one, where there are two."""
    for package in migration_sql.packages():
        *_, before = ["", *(revision.name for revision in migration_sql.revisions(package)[:-1])]
        if before:
            url = mesh.stack.wiring.database_url(package.replace("_", "-"))
            await migrations.upgrade(url, package, before)
            assert await migrations.current(url, package) == before


def expand(mesh: Mesh, service: str) -> None:
    """What a migration of the next release does to a schema: a table more, a column more, a revision we do not know."""

    async def run() -> None:
        connection = await asyncpg.connect(mesh.stack.wiring.database_url(service))
        try:
            await connection.execute("CREATE TABLE next_release (id bigint PRIMARY KEY)")
            for table in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
                if table["tablename"] not in ("alembic_version", "next_release"):
                    await connection.execute(f'ALTER TABLE "{table["tablename"]}" ADD COLUMN next_release text')
            await connection.execute("UPDATE alembic_version SET version_num = 'next_release'")
        finally:
            await connection.close()

    asyncio.run(run())
