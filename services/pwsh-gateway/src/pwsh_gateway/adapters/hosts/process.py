"""The child process behind a session: pipes, its own process group, a folder of its own, and its certain end.

Owns starting, writing and killing. Refuses to understand what is said. Nothing secret is in its arguments or
environment: it gets an allow-list of variables, its home and temporary folder are its own, so no token cache is
ever shared by two tenants.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

READ_BYTES = 64 * 1024
DIAGNOSTIC_LENGTH_MAX = 2000
_PREFIX = "ucmesh-session-"
_NEW_PREFIX = "ucmesh-new-session-"
_PR_SET_PDEATHSIG = 1
_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")
_INHERITED_PREFIXES = ("DOTNET_",)


@dataclass(frozen=True, slots=True)
class HostCommand:
    """How a session host is started.

    Local PowerShell or the simulated one. `variables` are added to the environment.
    """

    argv: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listener:
    """Who is told about the process. `ended` comes once, after the last output."""

    output: Callable[[bytes], None]
    diagnostic: Callable[[str], None]
    ended: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Folder:
    """A session's own folder, locked as long as its gateway lives. The lock says so, and no process id: in a container
    every gateway has the same one.
    """

    path: Path
    lock: int

    @classmethod
    def make(cls) -> _Folder:
        # It gets its name when it is locked: `sweep` never sees one that is not.
        new = Path(tempfile.mkdtemp(prefix=_NEW_PREFIX))
        lock = os.open(new, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return cls(new.rename(new.with_name(_PREFIX + new.name.removeprefix(_NEW_PREFIX))), lock)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock)


class HostProcess:
    """One running child. Made by `start`."""

    def __init__(self, process: asyncio.subprocess.Process, folder: _Folder) -> None:
        self._process = process
        self._folder = folder
        self._tasks: list[asyncio.Task[None]] = []
        self.pid = process.pid

    @classmethod
    async def start(cls, command: HostCommand, listener: Listener) -> HostProcess:
        """Raises OSError when the program cannot be started."""
        folder = _Folder.make()
        try:
            process = await asyncio.create_subprocess_exec(
                *command.argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=_environment(command, folder.path),
                cwd=folder.path,
                start_new_session=True,
                preexec_fn=_die_with_parent if _prctl is not None else None,
            )
        except OSError:
            folder.remove()
            raise
        self = cls(process, folder)
        self._tasks = [asyncio.create_task(self._watch(listener), name=f"host-{process.pid}")]
        return self

    def send(self, line: bytes) -> None:
        """Writes one request. A child that is gone is noticed by its end, not here."""
        stdin = self._process.stdin
        if stdin is not None and not stdin.is_closing():
            stdin.write(line)

    def kill(self) -> None:
        """Kills the process group at once; a no-op when it is gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    async def closed(self) -> None:
        """Waits until the child is gone and reaped."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self, listener: Listener) -> None:
        diagnostics = asyncio.create_task(self._diagnose(listener))
        try:
            stdout = self._process.stdout
            while stdout is not None and (data := await stdout.read(READ_BYTES)):
                listener.output(data)
        finally:
            # A closed stdout without an end would leave a process nobody can talk to.
            self.kill()
            await self._process.wait()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait_for(diagnostics, 1)
            self._folder.remove()
            listener.ended()

    async def _diagnose(self, listener: Listener) -> None:
        stderr = self._process.stderr
        while stderr is not None and (data := await stderr.read(READ_BYTES)):
            listener.diagnostic(data[-DIAGNOSTIC_LENGTH_MAX:].decode(errors="replace").strip())


def sweep() -> int:
    """Removes folders that sessions of gateways that were killed left behind; how many there were."""
    swept = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if folder.stat().st_uid == os.getuid():
                    shutil.rmtree(folder, ignore_errors=True)
                    swept += 1
            finally:
                os.close(lock)
    return swept


def _environment(command: HostCommand, folder: Path) -> dict[str, str]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name.upper() in _INHERITED or name.startswith(_INHERITED_PREFIXES)
    }
    own = {
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "POWERSHELL_TELEMETRY_OPTOUT": "1",
        "POWERSHELL_UPDATECHECK": "Off",
    }
    return {**inherited, **own, **command.variables}


def _load_prctl() -> Callable[..., int] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        return None


_prctl = _load_prctl()


def _die_with_parent() -> None:
    # Without this a killed gateway leaves cmdlets running that the next one then works against.
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
