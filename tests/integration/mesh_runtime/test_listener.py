"""LISTEN on a real PostgreSQL: what is heard, and coming back by itself."""

import asyncpg
import pytest
from sqlalchemy import text

from mesh_runtime import db as db_module
from mesh_runtime.db import Database
from support.databases import kill_backends
from support.waiting import eventually

pytestmark = pytest.mark.postgres


async def test_a_listener_hears_notifications(db):
    heard: list[str] = []
    async with db.raw_listen("test_channel", heard.append):
        await eventually(lambda: heard == [""])
        async with db.transaction() as tx:
            await tx.execute(text("SELECT pg_notify('test_channel', 'hello'), pg_notify('other', 'no')"))
        await eventually(lambda: heard == ["", "hello"])


async def test_a_listener_reconnects_and_says_so(db, postgres_url):
    heard: list[str] = []
    async with db.raw_listen("test_channel", heard.append):
        await eventually(lambda: heard == [""])
        assert await kill_backends(postgres_url, "test-db-listen") == 1
        await eventually(lambda: heard == ["", ""])
        async with db.transaction() as tx:
            await tx.execute(text("SELECT pg_notify('test_channel', 'again')"))
        await eventually(lambda: heard == ["", "", "again"])
    connection = await asyncpg.connect(postgres_url)

    async def listeners() -> bool:
        return (
            await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'test-db-listen'")
            == 0
        )

    await eventually(listeners)
    await connection.close()


async def test_a_listener_notices_a_connection_that_fell_silent(proxied, monkeypatch):
    monkeypatch.setattr(db_module, "LISTEN_PROBE_SECONDS", 0.1)
    monkeypatch.setattr(db_module, "CONNECT_TIMEOUT_SECONDS", 0.5)
    proxy, url = proxied
    db = Database(url, application_name="test-silent")
    heard: list[str] = []
    async with db.raw_listen("test_channel", heard.append):
        await eventually(lambda: heard == [""])
        proxy.blackhole = True
        await eventually(lambda: proxy.accepted > 1)
        proxy.blackhole = False
        await eventually(lambda: len(heard) == 2)
    await db.close()


async def test_a_listener_does_not_need_the_server_to_start(unused_tcp_port):
    db = Database(f"postgresql://app:x@127.0.0.1:{unused_tcp_port}/x")
    heard: list[str] = []
    async with db.raw_listen("test_channel", heard.append):
        assert heard == []
    await db.close()


async def test_a_listener_lives_through_a_restart_of_the_server(db, postgres_server):
    heard: list[str] = []
    async with db.raw_listen("test_channel", heard.append):
        await eventually(lambda: heard == [""])
        await postgres_server.restart()
        await eventually(lambda: len(heard) == 2, seconds=20)
