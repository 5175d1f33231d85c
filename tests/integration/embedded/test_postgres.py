"""PostgreSQL for the services: databases closed to each other, and a clean start after whatever happened before."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from support.killing import await_gone
from support.real_parts import cache, server_folder
from ucmesh_embedded import places
from ucmesh_embedded.errors import StackError
from ucmesh_embedded.places import free_port, unprivileged
from ucmesh_embedded.postgres import PostgresServer, PostgresSettings

pytestmark = pytest.mark.postgres


@pytest.fixture
def folder() -> Iterator[Path]:
    with server_folder() as made:
        yield made


def settings(folder: Path, port: int | None = None) -> PostgresSettings:
    return PostgresSettings(folder / "postgres", cache(), folder / "postgres.log", port, durable=False)


@pytest.fixture
async def server(folder: Path) -> AsyncIterator[PostgresServer]:
    made = PostgresServer(settings(folder))
    await made.start()
    yield made
    await made.stop()


async def value(url: str, query: str) -> object:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_a_service_sees_its_own_database_only(server: PostgresServer) -> None:
    mine = await server.ensure_database("orchestrator", "one")
    other = await server.ensure_database("cert_manager", "two")
    assert await value(mine, "SELECT current_user || '@' || current_database()") == "orchestrator@orchestrator"
    assert await value(other, "SELECT current_user") == "cert_manager"
    for database in ("cert_manager", "postgres", "template1"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await value(server.url(database, "orchestrator", "one"), "SELECT 1")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await value(server.url("orchestrator", "orchestrator", "wrong"), "SELECT 1")
    assert (
        await value(mine, "SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = user") is False
    )


async def test_ensuring_a_database_again_keeps_its_rows_and_takes_a_new_password(server: PostgresServer) -> None:
    url = await server.ensure_database("orchestrator", "old")
    await value(url, "CREATE TABLE kept AS SELECT 7 AS n")
    url = await server.ensure_database("orchestrator", "it's new")
    assert await value(url, "SELECT n FROM kept") == 7


async def test_a_start_that_died_half_way_is_begun_anew(folder: Path) -> None:
    part = folder / "postgres" / "data.part"
    part.mkdir(parents=True)
    (part / "half").write_text("written")
    (folder / "postgres" / "superuser.part").write_text("half")
    server = PostgresServer(settings(folder))
    await server.start()
    assert await value(server.url(), "SELECT 1") == 1
    await server.stop()


async def test_a_server_that_outlived_its_supervisor_is_replaced(server: PostgresServer, folder: Path) -> None:
    assert server.child
    second = PostgresServer(settings(folder, server.port))
    await second.start()
    assert second.child
    await_gone([server.child.pid])
    assert await value(second.url(), "SELECT 1") == 1
    await second.stop()


async def test_a_stale_pid_file_of_another_process_does_not_matter(server: PostgresServer) -> None:
    await server.stop()
    (server.data / "postmaster.pid").write_text(f"{os.getpid()}\n{server.data}\n")
    await server.start()
    assert await value(server.url(), "SELECT 1") == 1


async def test_a_taken_port_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "PORT_WAIT_SECONDS", 0.1)
    port = free_port()
    with socket.create_server(("127.0.0.1", port)), pytest.raises(StackError, match=f"port {port} is taken"):
        await PostgresServer(settings(folder, port)).start()


async def test_data_of_another_major_version_is_refused(server: PostgresServer) -> None:
    await server.stop()
    (server.data / "PG_VERSION").write_text("17\n")
    with pytest.raises(StackError, match=r"written by PostgreSQL 17; this release runs 18"):
        await server.start()


async def test_a_lost_password_is_said_and_nothing_is_overwritten(server: PostgresServer) -> None:
    await server.stop()
    (server.data.parent / "superuser").unlink()
    with pytest.raises(StackError, match="is missing, so the password"):
        await server.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root meets a folder its own child cannot enter")
async def test_a_home_closed_to_the_dropped_user_works(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    server = PostgresServer(settings(closed))
    await server.start()
    assert await value(server.url(), "SELECT 1") == 1
    assert not server.data.is_relative_to(folder)
    await server.stop()
    shutil.rmtree(server.data.parent)


AS_PLAIN_USER = """
import asyncio, sys
from pathlib import Path
from ucmesh_embedded.postgres import PostgresServer, PostgresSettings
async def main(folder):
    server = PostgresServer(PostgresSettings(folder / "postgres", folder / "cache", folder / "log"))
    await server.start()
    print(await server.ensure_database("orchestrator", "x"))
    await server.stop()
asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="as a plain user every other test here shows it")
def test_it_works_as_a_plain_user(folder: Path) -> None:
    user = unprivileged()
    assert user
    user.own(folder)
    python = readable_python()
    if python is None:
        pytest.skip("no Python that a plain user could run")
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [python, "-c", AS_PLAIN_USER, str(folder)],
        env=environment,
        cwd=folder,
        user=user.uid,
        group=user.gid,
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.startswith("postgresql://orchestrator:x@127.0.0.1:"), done.stderr


def readable_python() -> str | None:
    """An interpreter of our version outside root's home, with our packages readable too."""
    user = unprivileged()
    assert user
    version = f"python3.{sys.version_info.minor}"
    candidates = [Path(sys.executable).resolve(), Path("/usr/bin") / version, Path("/usr/local/bin") / version]
    packages = Path(asyncpg.__file__).parent
    return next((str(p) for p in candidates if p.exists() and user.can_reach(p) and user.can_reach(packages)), None)
