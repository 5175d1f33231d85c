"""A backup of the mesh's PostgreSQL with its WAL, and the way back to a moment, as docs/operations.md does it.

Services may have servers of their own in a deployment, which then go back to moments of their own. Here they share one:
a database of an earlier moment is dumped then, and takes the place of what the server went back to.
"""

import os
import shutil
import subprocess
from datetime import datetime
from pathlib import Path

import asyncpg

from support.mesh import Mesh
from support.waiting import eventually_sync
from ucmesh_embedded import topology
from ucmesh_embedded.parts import PostgresPart
from ucmesh_embedded.postgres import binaries


class Backups:
    """Beside the server's own folder, where the user it runs as may write."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        part = mesh.stack.supervisor.parts["postgres"]
        assert isinstance(part, PostgresPart)
        self._server = part.server
        self._folder = self._server.data.parent
        self._archive = self._folder / "archive"
        self._base = self._folder / "base"
        owner = self._server.data.stat()
        self._owner = (owner.st_uid, owner.st_gid)

    async def archive(self) -> None:
        """Switch archiving on; this asks for a restart of the server."""
        self._archive.mkdir()
        os.chown(self._archive, *self._owner)
        server = await asyncpg.connect(self._server.url())
        try:
            await server.execute("ALTER SYSTEM SET archive_mode = on")
            command = f"test ! -f {self._archive}/%f && cp %p {self._archive}/%f"
            await server.execute(f"ALTER SYSTEM SET archive_command = '{command}'")
        finally:
            await server.close()
        self._mesh.restart("postgres")

    async def back_up(self) -> datetime:
        """A whole copy, checked; the moment it can be restored to, of the server's clock."""
        self._run("pg_basebackup", "--pgdata", str(self._base), "--checkpoint", "fast", "--dbname", self._server.url())
        self._run("pg_verifybackup", str(self._base))
        return await self.now()

    async def now(self) -> datetime:
        """The server's clock, with everything committed before it in the WAL."""
        server = await asyncpg.connect(self._server.url())
        try:
            moment: datetime = await server.fetchval("SELECT clock_timestamp()")
            await server.execute("SELECT pg_create_restore_point('moment')")
        finally:
            await server.close()
        return moment

    async def close_wal(self) -> None:
        """Have what was written so far archived, as `archive_timeout` does."""
        server = await asyncpg.connect(self._server.url())
        try:
            segment = await server.fetchval("SELECT pg_walfile_name(pg_current_wal_lsn())")
            await server.execute("SELECT pg_switch_wal()")
        finally:
            await server.close()
        eventually_sync((self._archive / segment).exists, seconds=60, what=f"WAL segment {segment} in the archive")

    def put_back(self, moment: datetime) -> None:
        """In place of the data of the stopped server; it goes back to the moment when it starts."""
        data = self._server.data
        shutil.rmtree(data)
        shutil.copytree(self._base, data, symlinks=True)
        (data / "recovery.signal").touch()
        with (data / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"restore_command = 'cp {self._archive}/%f %p'\n")
            settings.write(f"recovery_target_time = '{moment.isoformat()}'\nrecovery_target_action = 'promote'\n")
        for path in (data, *data.rglob("*")):
            os.chown(path, *self._owner, follow_symlinks=False)
        data.chmod(0o700)

    def dump(self, *services: str) -> None:
        """The databases of these services as they are now."""
        for service in services:
            url = self._server.url(topology.database(service))
            self._run("pg_dump", "--format", "custom", "--file", str(self._folder / service), "--dbname", url)

    def load(self, *services: str) -> None:
        """In place of the databases of these services, what `dump` took."""
        flags = ("--clean", "--if-exists", "--create", "--exit-on-error")
        for service in services:
            self._run("pg_restore", *flags, "--dbname", self._server.url(), str(self._folder / service))

    def _run(self, program: str, *arguments: str) -> None:
        folder: Path = binaries(self._mesh.stack.places.cache)
        done = subprocess.run([str(folder / program), *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
