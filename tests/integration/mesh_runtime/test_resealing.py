"""Re-sealing under a new key on a real PostgreSQL: beside services, in small batches, with nothing guessed."""

import uuid
from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import text

from cert_manager.adapters import vault as cert_manager
from graph_adapter.adapters import vault as graph_adapter
from mesh_runtime import migrations
from mesh_runtime.db import Database
from mesh_runtime.resealing import SealedColumn, keys_needed, reseal
from mesh_runtime.sealing import Sealer
from pwsh_gateway.adapters.db import credentials as pwsh_gateway

pytestmark = pytest.mark.postgres
K1, K2, K3 = b"1" * 32, b"2" * 32, b"3" * 32
OLD = Sealer({"k1": K1}, "k1")
BOTH = Sealer({"k1": K1, "k2": K2}, "k2")
NEW = Sealer({"k2": K2}, "k2")
COLUMN = SealedColumn("secret", "id", "sealed", lambda key: f"secret:{key}")
SEALED = {
    "cert_manager": cert_manager.SEALED_COLUMNS,
    "graph_adapter": graph_adapter.SEALED_COLUMNS,
    "pwsh_gateway": pwsh_gateway.SEALED_COLUMNS,
    "orchestrator": (),
}


@pytest.fixture
async def db(fresh_database: Callable[[], str]) -> AsyncIterator[Database]:
    made = Database(fresh_database(), pool_size_max=3)
    async with made.transaction() as tx:
        await tx.execute(text("CREATE TABLE secret (id uuid PRIMARY KEY, sealed bytea)"))
    yield made
    await made.close()


async def put(db: Database, sealer: Sealer, count: int) -> dict[uuid.UUID, bytes]:
    plain = {uuid.uuid4(): f"secret {n}".encode() for n in range(count)}
    async with db.transaction() as tx:
        for key, secret in plain.items():
            sealed = sealer.seal(secret, context=f"secret:{key}")
            await tx.execute(text("INSERT INTO secret VALUES (:key, :sealed)"), {"key": key, "sealed": sealed})
    return plain


async def opened(db: Database, sealer: Sealer) -> dict[uuid.UUID, bytes]:
    async with db.read() as tx:
        rows = (await tx.execute(text("SELECT id, sealed FROM secret WHERE sealed IS NOT NULL"))).all()
    return {row.id: sealer.open(bytes(row.sealed), context=f"secret:{row.id}") for row in rows}


@pytest.mark.parametrize("batch_size", [1, 7, 100])
async def test_everything_opens_with_the_new_key_alone(db: Database, batch_size: int) -> None:
    plain = await put(db, OLD, 20) | await put(db, BOTH, 3)
    async with db.transaction() as tx:
        await tx.execute(text("INSERT INTO secret VALUES (:key, NULL)"), {"key": uuid.uuid4()})
    assert await keys_needed(db, [COLUMN]) == {"secret.sealed": {"k1": 20, "k2": 3}}
    assert (await reseal(db, BOTH, COLUMN, batch_size_max=batch_size)).done == 20
    assert await keys_needed(db, [COLUMN]) == {"secret.sealed": {"k2": 23}}
    assert await opened(db, NEW) == plain
    assert (await reseal(db, BOTH, COLUMN)).done == 0


async def test_a_row_that_a_service_holds_is_passed_over_and_keeps_what_the_service_wrote(db: Database) -> None:
    plain = await put(db, OLD, 5)
    held = min(plain)
    async with db.transaction() as tx:
        sealed = OLD.seal(b"of the service", context=f"secret:{held}")
        await tx.execute(text("UPDATE secret SET sealed = :sealed WHERE id = :key"), {"key": held, "sealed": sealed})
        assert (await reseal(db, BOTH, COLUMN, batch_size_max=2)).done == 4
    assert (await keys_needed(db, [COLUMN]))["secret.sealed"] == {"k1": 1, "k2": 4}
    assert (await reseal(db, BOTH, COLUMN)).done == 1
    assert await opened(db, NEW) == plain | {held: b"of the service"}


async def test_what_does_not_open_stays_and_is_reported_with_its_key(db: Database) -> None:
    plain = await put(db, OLD, 3)
    await put(db, Sealer({"k3": K3}, "k3"), 2)
    await put(db, Sealer({"k1": K3}, "k1"), 1)
    result = await reseal(db, BOTH, COLUMN, batch_size_max=2)
    assert result.done == len(plain)
    assert sorted(result.unopened.values()) == [1, 2]
    assert "'k3'" in " ".join(result.unopened)
    assert "'k1'" in " ".join(result.unopened)
    assert (await keys_needed(db, [COLUMN]))["secret.sealed"] == {"k1": 1, "k2": 3, "k3": 2}


@pytest.mark.parametrize("package", SEALED)
async def test_every_sealed_column_of_a_service_is_known_to_its_command(
    fresh_database: Callable[[], str], package: str
) -> None:
    url = fresh_database()
    await migrations.upgrade(url, package)
    db = Database(url, pool_size_max=1)
    async with db.read() as tx:
        rows = await tx.execute(
            text("""
            SELECT table_name || '.' || column_name FROM information_schema.columns
            WHERE table_schema = 'public' AND data_type = 'bytea' AND column_name LIKE '%sealed%'
        """)
        )
        there = set(rows.scalars())
    await db.close()
    assert there == {column.name for column in SEALED[package]}
