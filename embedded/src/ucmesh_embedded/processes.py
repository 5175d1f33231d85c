"""Child processes: born with their parent's death tied to their own, watched by pid, ended within a bound.

Owns: spawning, logs, ending, and recognising what an earlier, killed supervisor left behind. Refuses: knowing which
program it runs, and restarting (the supervisor decides that).
"""

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
import psutil

from ucmesh_embedded.errors import StackError
from ucmesh_embedded.places import Unprivileged

LOG_BYTES_MAX = 16 * 1024 * 1024
TAIL_BYTES_MAX = 64 * 1024
POLL_SECONDS = 0.02
STOP_SECONDS_MAX = 15.0

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None


@dataclass(frozen=True, slots=True)
class Command:
    """What to run. `stop_signal` asks it to end; `death_signal` reaches it when this process dies (Linux)."""

    argv: Sequence[str | Path]
    log: Path
    env: Mapping[str, str]
    cwd: Path | None = None
    user: Unprivileged | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL


@dataclass(slots=True)
class Child:
    """One running process, the leader of its own process group."""

    command: Command
    popen: "subprocess.Popen[bytes]"
    log_start_bytes: int = 0
    """Where in the log this process's own output begins."""

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def exit_code(self) -> int | None:
        return self.popen.poll()

    def tail(self, lines_max: int = 15) -> str:
        """The last lines this process wrote."""
        return tail(self.command.log, lines_max, from_byte=self.log_start_bytes)

    def kill(self) -> None:
        """SIGKILL to the whole group, and wait for its leader."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait(10)

    async def stop(self, seconds_max: float = STOP_SECONDS_MAX) -> None:
        """Ask, wait up to `seconds_max`, then kill the group."""
        if self.exit_code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, self.command.stop_signal)
            await self.wait(seconds_max)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait(10)

    async def wait(self, seconds_max: float) -> int | None:
        """The exit code, or None when it still runs after `seconds_max`."""
        deadline = time.monotonic() + seconds_max
        while self.exit_code is None and time.monotonic() < deadline:  # noqa: ASYNC110 - a pid has no event
            await asyncio.sleep(POLL_SECONDS)
        return self.exit_code


def spawn(command: Command) -> Child:
    """Start `command` in a session of its own; its output is appended to the log."""
    bound_log(command.log)
    death = command.death_signal
    parent = os.getpid()

    def die_with_parent() -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, int(death))
            if os.getppid() != parent:
                os._exit(1)

    drop = {} if command.user is None else {"user": command.user.uid, "group": command.user.gid, "extra_groups": []}
    command.log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with command.log.open("ab") as log:
            log_start_bytes = log.tell()
            popen = subprocess.Popen(
                [str(part) for part in command.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(command.env),
                cwd=command.cwd,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - only two system calls, after the fork
                **drop,  # type: ignore[call-overload]
            )
    except OSError as error:
        raise StackError(f"{command.argv[0]} cannot be started: {error.strerror or error}.") from error
    return Child(command, popen, log_start_bytes)


def bound_log(log: Path, bytes_max: int = LOG_BYTES_MAX) -> None:
    """Keep one former log when this one has grown too long. Writers append, so truncating under them is safe."""
    if log.exists() and log.stat().st_size > bytes_max:
        shutil.copyfile(log, log.with_suffix(log.suffix + ".1"))
        os.truncate(log, 0)


def tail(log: Path, lines_max: int = 15, *, from_byte: int = 0) -> str:
    """The last lines of a log, for the message that says why something died."""
    try:
        with log.open("rb") as file:
            size = log.stat().st_size
            file.seek(max(0, size - TAIL_BYTES_MAX, from_byte if from_byte <= size else 0))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines_max:])


@dataclass(frozen=True, slots=True)
class Ledger:
    """The pids a supervisor started, on disk, so that the next one can end what a kill -9 left.

    A pid alone proves nothing (it may be somebody else's by now): pid and creation time together do.
    """

    file: Path

    def write(self, pids: Mapping[str, int]) -> None:
        rows = {}
        for name, pid in pids.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                rows[name] = [pid, psutil.Process(pid).create_time()]
        part = self.file.with_suffix(".part")
        part.write_bytes(orjson.dumps(rows))
        part.replace(self.file)

    def leftovers(self) -> dict[str, psutil.Process]:
        """Processes of an earlier run that still live."""
        found = {}
        for name, (pid, created) in self._read().items():
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if abs(process.create_time() - created) < 0.05 and process.status() != psutil.STATUS_ZOMBIE:
                    found[name] = process
        return found

    def end_leftovers(self, seconds_max: float = 5) -> list[str]:
        """End what an earlier run left: asked first, then killed with its group. Returns the names."""
        found = self.leftovers()
        for process in found.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        _, alive = psutil.wait_procs(list(found.values()), timeout=seconds_max)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        psutil.wait_procs(alive, timeout=seconds_max)
        self.file.unlink(missing_ok=True)
        return sorted(found)

    def _read(self) -> dict[str, tuple[int, float]]:
        try:
            rows = orjson.loads(self.file.read_bytes())
            return {str(name): (int(pid), float(created)) for name, (pid, created) in rows.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}
