"""Where the embedded stack keeps things, and which user may read them.

Owns: folder names under the home folder (`.ucmesh/`), the cache, free ports, and the unprivileged user PostgreSQL
runs as when we are root. Refuses: starting anything.
"""

import asyncio
import errno
import hashlib
import os
import pwd
import random
import shutil
import socket
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from ucmesh_embedded.errors import StackError

# Below the range Linux hands out for outgoing connections, so that a port is still free after a restart.
PORT_FIRST, PORT_LAST = 20_000, 31_999
PORT_TRIES_MAX = 200
PORT_WAIT_SECONDS = 5.0
PORT_REMEDY = "Start again: a stack that starts anew takes another free port."
FREE_BYTES_MIN = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of one stack. `home` is usually `.ucmesh/` beside the checkout's README."""

    home: Path
    cache: Path

    @classmethod
    def of(cls, home: Path, cache: Path | None = None) -> "Places":
        """The places under `home`; `cache`, or else the variable UCMESH_CACHE, moves the cache elsewhere."""
        moved = cache or os.environ.get("UCMESH_CACHE")
        return cls(home.absolute(), Path(moved).absolute() if moved else home.absolute() / "cache")

    @classmethod
    def from_environment(cls) -> "Places":
        """The places under UCMESH_HOME, by default `.ucmesh` in the current folder."""
        return cls.of(Path(os.environ.get("UCMESH_HOME", ".ucmesh")))

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def run(self) -> Path:
        """Pid files, the lock and the ports: nothing in it outlives a reboot with a meaning."""
        return self.home / "run"

    @property
    def keys(self) -> Path:
        return self.home / "keys"

    def make(self) -> None:
        """Make the folders; a StackError says why when that is not possible."""
        try:
            for folder in (self.home, self.cache, self.logs, self.run, self.keys):
                folder.mkdir(parents=True, exist_ok=True)
            self.keys.chmod(0o700)
        except OSError as error:
            raise unwritable(error, self.home) from error


@dataclass(frozen=True, slots=True)
class Unprivileged:
    """The user a child drops to. PostgreSQL refuses to run as root."""

    uid: int
    gid: int

    def can_reach(self, path: Path) -> bool:
        """Whether this user may enter every folder down to `path` by the mode bits."""
        return all(self._may_enter(folder) for folder in (path, *path.parents) if folder.is_dir())

    def _may_enter(self, folder: Path) -> bool:
        info = folder.stat()
        if info.st_uid == self.uid:
            return bool(info.st_mode & stat.S_IXUSR)
        if info.st_gid == self.gid:
            return bool(info.st_mode & stat.S_IXGRP)
        return bool(info.st_mode & stat.S_IXOTH)

    def own(self, path: Path) -> None:
        os.chown(path, self.uid, self.gid)


def unprivileged() -> Unprivileged | None:
    """The user to drop to when we are root; None when we are a plain user already."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return Unprivileged(65_534, 65_534)
    return Unprivileged(entry.pw_uid, entry.pw_gid)


def reachable_folder(wanted: Path, user: Unprivileged | None, purpose: str) -> Path:
    """`wanted`, or a folder outside when a parent of it (a home folder of mode 700, say) is closed to `user`.

    The outside folder's name is a digest of `wanted`, so that the same stack finds it again. It must be ours alone:
    one that somebody else made is refused.
    """
    if user is None or user.can_reach(_nearest_existing(wanted)):
        wanted.mkdir(parents=True, exist_ok=True)
        return wanted
    digest = hashlib.sha256(str(wanted.absolute()).encode()).hexdigest()[:12]
    base = Path("/var/tmp")  # noqa: S108 - kept over reboots; ownership is checked below
    outside = (base if base.is_dir() else Path(tempfile.gettempdir())) / f"ucmesh-{purpose}-{digest}"
    outside.mkdir(mode=0o755, exist_ok=True)
    info = outside.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid():
        raise StackError(f"{outside} belongs to somebody else.", remedy="Remove it, then start again.")
    return outside


def _nearest_existing(path: Path) -> Path:
    return next(p for p in (path, *path.parents) if p.exists())


def free_port(taken: frozenset[int] = frozenset()) -> int:
    """A TCP port nobody listens on at 127.0.0.1, chosen at random so that two stacks starting together differ."""
    for _ in range(PORT_TRIES_MAX):
        port = random.randint(PORT_FIRST, PORT_LAST)
        if port not in taken and port_is_free(port):
            return port
    raise StackError(
        f"No free TCP port between {PORT_FIRST} and {PORT_LAST} on 127.0.0.1.",
        remedy="End programs that hold ports there, then start again.",
    )


def port_is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


async def settle_port(port: int, name: str) -> int:
    """`port` once it is free, or any free one when it is 0. StackError when another program keeps it.

    A process that was just killed may hold its port for a moment.
    """
    if not port:
        return free_port()
    deadline = time.monotonic() + PORT_WAIT_SECONDS
    while not port_is_free(port):
        if time.monotonic() > deadline:
            raise StackError(f"{name}: port {port} is taken by another program.", remedy=PORT_REMEDY)
        await asyncio.sleep(0.05)
    return port


def require_space(folder: Path, bytes_min: int | None = None) -> None:
    """Refuse to start on a disk that is nearly full (FREE_BYTES_MIN), before a database is half written."""
    bytes_min = FREE_BYTES_MIN if bytes_min is None else bytes_min
    free = shutil.disk_usage(_nearest_existing(folder)).free
    if free < bytes_min:
        raise StackError(
            f"Only {free // 2**20} MiB are free where {folder} lies; the stack needs {bytes_min // 2**20} MiB.",
            remedy="Free some space, or set UCMESH_HOME to a folder on another disk.",
        )


def unwritable(error: OSError, folder: Path) -> StackError:
    """The clear message for a folder that cannot be written."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StackError(
            f"The disk is full: {folder} cannot be written.",
            remedy="Free some space, or set UCMESH_HOME to a folder on another disk.",
        )
    return StackError(
        f"{folder} cannot be written: {error.strerror or error}.",
        remedy="Give yourself write permission, or set UCMESH_HOME to another folder.",
    )
