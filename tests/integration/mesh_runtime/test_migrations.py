"""Migrations on a real PostgreSQL: many processes start at once, one migrates, and nobody waits for ever."""

import asyncio
import os
import subprocess
import sys
import textwrap
from urllib.parse import urlsplit

import asyncpg
import pytest

from mesh_runtime import migrations
from mesh_runtime.errors import Conflict, Unavailable
from support.toxic import through, toxic
from support.waiting import eventually

pytestmark = pytest.mark.postgres

ENV = "from mesh_runtime.migrations import run_env\n\nrun_env()\n"
REVISION = """
    from alembic import op

    revision = "{revision}"
    down_revision = {down}


    def upgrade() -> None:
        if down_revision is None:
            op.execute("CREATE TABLE ran (revision text)")
        else:
            op.execute("INSERT INTO ran VALUES ('{revision}')")
        {body}


    def downgrade() -> None:
        raise NotImplementedError
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with two revisions; a function that adds another one with a body."""
    name = f"sample_{tmp_path.name.replace('-', '_')}"
    versions = tmp_path / name / "migrations" / "versions"
    versions.mkdir(parents=True)
    (tmp_path / name / "__init__.py").touch()
    (tmp_path / name / "migrations" / "env.py").write_text(ENV)

    def add(revision: str, down: str | None, body: str = "pass") -> None:
        text = textwrap.dedent(REVISION).format(revision=revision, down=repr(down), body=body)
        (versions / f"{revision}.py").write_text(text)

    add("0001", None)
    add("0002", "0001")
    monkeypatch.syspath_prepend(str(tmp_path))
    return name, add, tmp_path


@pytest.fixture
def url(fresh_database):
    return fresh_database()


async def fetch(url: str, query: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        return [row[0] for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def test_an_empty_database_is_brought_to_the_head_and_again_costs_nothing(package, url):
    name, *_ = package
    assert await migrations.current(url, name) is None
    await migrations.upgrade(url, name)
    assert await migrations.current(url, name) == "0002"
    await migrations.upgrade(url, name)
    assert await fetch(url, "SELECT revision FROM ran") == ["0002"]


async def test_many_starts_in_one_loop_migrate_once(package, url, fresh_database):
    name, *_ = package
    other = fresh_database()
    await asyncio.gather(*(migrations.upgrade(each, name) for each in (url, other) * 4))
    assert await fetch(url, "SELECT revision FROM ran") == ["0002"]
    assert await fetch(other, "SELECT revision FROM ran") == ["0002"]


async def test_many_processes_starting_at_once_migrate_once(package, url):
    name, add, root = package
    add("0003", "0002", "op.execute('SELECT pg_sleep(0.2)')")
    code = f"import asyncio; from mesh_runtime import migrations; asyncio.run(migrations.upgrade({url!r}, {name!r}))"
    environment = {**os.environ, "PYTHONPATH": str(root)}
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", code, env=environment, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for process in processes:
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
    assert await fetch(url, "SELECT revision FROM ran ORDER BY 1") == ["0002", "0003"]


async def test_a_revision_that_fails_leaves_those_before_it_and_can_be_repeated(package, url):
    name, add, _ = package
    add("0003", "0002", "op.execute('SELECT 1/0')")
    with pytest.raises(Exception, match="division by zero"):
        await migrations.upgrade(url, name)
    assert await migrations.current(url, name) == "0002"
    assert await fetch(url, "SELECT revision FROM ran") == ["0002"]
    add("0003", "0002")
    await migrations.upgrade(url, name)
    assert await migrations.current(url, name) == "0003"


async def test_waiting_for_another_process_is_bounded(package, url, monkeypatch):
    name, *_ = package
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT_SECONDS", 0.2)
    other = await asyncpg.connect(url)
    await other.execute("SELECT pg_advisory_lock($1)", migrations.LOCK_KEY)
    with pytest.raises(Unavailable) as caught:
        await migrations.upgrade(url, name)
    assert caught.value.code == "migration-blocked"
    await other.close()
    await migrations.upgrade(url, name)


async def test_the_turn_of_a_machine_that_lost_power_ends(package, url):
    name, add, folder = package
    add("0001", None, "import time; time.sleep(600)")
    parts = urlsplit(url)
    async with toxic(parts.hostname, parts.port) as proxy:
        program = f"""
            import asyncio
            from mesh_runtime import migrations
            migrations.LOCK_SILENCE_SECONDS = 2
            asyncio.run(migrations.upgrade({through(url, proxy.port)!r}, {name!r}))
        """
        environment = os.environ | {"PYTHONPATH": str(folder)}
        child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], env=environment)
        watcher = await asyncpg.connect(url)
        held = "SELECT true FROM pg_locks WHERE locktype = 'advisory' AND granted"
        await eventually(lambda: watcher.fetchval(held))
        proxy.stranding = True
        child.kill()
        child.wait()
        add("0001", None)
        await migrations.upgrade(url, name)
        assert await migrations.current(url, name) == "0002"
        await watcher.close()


async def test_a_table_that_stays_locked_blocks_for_a_bounded_time_and_the_readers_not_at_all(
    package, url, monkeypatch
):
    name, add, _ = package
    await migrations.upgrade(url, name)
    add("0003", "0002", "op.execute('ALTER TABLE ran ADD COLUMN x int')")
    monkeypatch.setattr(migrations, "DDL_LOCK_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(migrations, "DDL_RETRY_SECONDS", 0.01)
    other = await asyncpg.connect(url)
    transaction = other.transaction()
    await transaction.start()
    await other.execute("LOCK TABLE ran IN ACCESS SHARE MODE")
    with pytest.raises(Unavailable) as caught:
        await migrations.upgrade(url, name)
    assert caught.value.code == "migration-blocked"
    assert await migrations.current(url, name) == "0002"
    await transaction.rollback()
    await other.close()
    await migrations.upgrade(url, name)
    assert await migrations.current(url, name) == "0003"


async def test_a_server_that_is_not_there_is_unavailable(package, unused_tcp_port):
    name, *_ = package
    with pytest.raises(Unavailable):
        await migrations.upgrade(f"postgresql://app:x@127.0.0.1:{unused_tcp_port}/x", name)


async def test_a_package_without_migrations_is_named(url):
    with pytest.raises(Exception, match="mesh_runtime"):
        await migrations.upgrade(url, "mesh_runtime")


async def test_a_release_starts_on_what_a_newer_one_has_migrated(package, url):
    name, add, root = package
    add("0003", "0002", "op.execute('ALTER TABLE ran ADD COLUMN x int')")
    await migrations.upgrade(url, name)
    (root / name / "migrations" / "versions" / "0003.py").unlink()  # what the older release knows
    await migrations.upgrade(url, name)
    assert await migrations.current(url, name) == "0003"


async def test_a_release_that_a_newer_schema_no_longer_serves_says_what_to_run(package, url):
    name, add, root = package
    versions = root / name / "migrations" / "versions"
    add("0003", "0002")
    add("0004", "0003", "from mesh_runtime.migrations import end_support_before; end_support_before('0003')")
    await migrations.upgrade(url, name)
    (versions / "0004.py").unlink()
    await migrations.upgrade(url, name)  # knows 0003: served
    (versions / "0003.py").unlink()
    with pytest.raises(Conflict) as caught:
        await migrations.upgrade(url, name)
    assert caught.value.code == "schema-too-new"
    assert "0003" in (caught.value.remedy or "")


async def test_an_index_is_built_while_other_replicas_wait_for_their_turn(package, url):
    name, add, root = package
    await migrations.upgrade(url, name)
    body = "from mesh_runtime.migrations import create_index_concurrently as c; c('ran_revision', 'ON ran (revision)')"
    add("0003", "0002", body)
    other = await asyncpg.connect(url)
    transaction = other.transaction(isolation="repeatable_read")
    await transaction.start()
    await other.execute("INSERT INTO ran VALUES ('written meanwhile')")
    building = asyncio.create_task(migrations.upgrade(url, name))
    watcher = await asyncpg.connect(url)
    await eventually(lambda: _waits_for_a_transaction(watcher))
    code = f"import asyncio; from mesh_runtime import migrations; asyncio.run(migrations.upgrade({url!r}, {name!r}))"
    environment = {**os.environ, "PYTHONPATH": str(root)}
    replica = await asyncio.create_subprocess_exec(sys.executable, "-c", code, env=environment)
    await eventually(lambda: _is_connected(watcher, "ucmesh-migrations-lock", 2))
    await transaction.commit()
    await building
    assert await replica.wait() == 0
    assert await fetch(url, "SELECT indisvalid::text FROM pg_index WHERE indexrelid = 'ran_revision'::regclass") == [
        "true"
    ]
    await watcher.close()
    await other.close()


async def test_an_index_whose_build_was_broken_off_is_built_anew(package, url):
    name, add, _ = package
    await migrations.upgrade(url, name)
    other = await asyncpg.connect(url)
    await other.execute("INSERT INTO ran VALUES ('twice'), ('twice')")
    with pytest.raises(asyncpg.UniqueViolationError):
        await other.execute("CREATE UNIQUE INDEX CONCURRENTLY ran_revision ON ran (revision)")
    await other.execute("DELETE FROM ran")
    body = "from mesh_runtime.migrations import create_index_concurrently as c; c('ran_revision', 'ON ran (revision)')"
    add("0003", "0002", body)
    await migrations.upgrade(url, name)
    assert await other.fetchval("SELECT indisvalid FROM pg_index WHERE indexrelid = 'ran_revision'::regclass")
    await other.close()


async def _waits_for_a_transaction(watcher: asyncpg.Connection) -> bool:
    query = "SELECT count(*) FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting%'"
    return bool(await watcher.fetchval(query))


async def _is_connected(watcher: asyncpg.Connection, application: str, times: int) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND query LIKE '%advisory%'"
    return bool(await watcher.fetchval(query, application) >= times)
