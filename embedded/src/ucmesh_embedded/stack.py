"""The stack: starts what the topology names, in its order and in parallel, keeps it alive, ends it.

Owns: the lock (one stack a home folder), ports, start order, the files that tell others where things are. Refuses:
business: customers and people are told to the mesh through its public doors.

    async with Stack(Path(".ucmesh")) as stack:
        print(stack.endpoints.url("orchestrator"))
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import orjson

from ucmesh_embedded import jars, kafka_aot, topology
from ucmesh_embedded.endpoints import Endpoints
from ucmesh_embedded.errors import StackError
from ucmesh_embedded.parts import KafkaPart, PostgresPart, ProgramPart
from ucmesh_embedded.places import (
    Places,
    free_port,
    port_is_free,
    reachable_folder,
    require_space,
    unprivileged,
    unwritable,
)
from ucmesh_embedded.processes import STOP_SECONDS_MAX, Ledger
from ucmesh_embedded.supervisor import Event, Part, Supervisor
from ucmesh_embedded.topology import Options, Wiring

NO_OPTIONS = Options()


def silent(_name: str, _text: str) -> None:
    """The event callback that shows nothing."""


@dataclass(frozen=True, slots=True)
class Lock:
    """At most one stack a home folder. The kernel drops the lock when its holder dies, however it dies."""

    file: Path

    def take(self) -> IO[str]:
        """The open, locked file; StackError when another process holds it."""
        handle = self.file.open("a+")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            raise StackError(
                f"A stack runs here already (pid {self.holder() or 'unknown'}).",
                remedy="Use it (`./dev status` shows where), or end it with `./dev down`.",
            ) from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        return handle

    def holder(self) -> int | None:
        """The pid of the stack that runs now, if one does."""
        try:
            with self.file.open("r+") as handle:
                try:
                    fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return int(handle.read() or 0) or None
        except (FileNotFoundError, ValueError):
            pass
        return None


class Stack:
    """One running mesh. `on_event(name, text)` is told what starts, is ready, died and came back."""

    def __init__(
        self, home: Path, options: Options = NO_OPTIONS, on_event: Event = silent, cache: Path | None = None
    ) -> None:
        self.places = Places.of(home, cache)
        self.options = options
        self._on_event = on_event
        self._lock: IO[str] | None = None
        self._ledger = Ledger(self.places.run / "processes.json")
        self._parts: dict[str, Part] = {}
        self._supervisor: Supervisor | None = None
        self._wiring: Wiring | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def wiring(self) -> Wiring:
        if self._wiring is None:
            raise StackError("The stack was not started.")
        return self._wiring

    @property
    def endpoints(self) -> Endpoints:
        """Where everything is; also in `stack.json` and, for the CLI, `cli.json` of the home folder."""
        return Endpoints.of(self.wiring)

    @property
    def supervisor(self) -> Supervisor:
        if self._supervisor is None:
            raise StackError("The stack was not started.")
        return self._supervisor

    async def start(self, names: Collection[str] = ()) -> Endpoints:
        """Start the named parts (none: all) that do not run yet, until they serve.

        StackError, with everything ended, when one cannot.
        """
        if self._lock is None:
            self._prepare()
            self._supervisor = Supervisor(self._on_event, self._write_pids, self.options.crashes_max)
        started = {name: asyncio.Event() for name in self._parts}
        for name in self.supervisor.parts:
            started[name].set()
        wanted = [
            part for part in self._with_needs(names or self.options.everything) if not started[part.name].is_set()
        ]
        tasks = [asyncio.create_task(self._start_one(part, started)) for part in wanted]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.stop()
            raise
        self.endpoints.write(self.places)
        kafka_aot.build_in_background(self.places)
        return self.endpoints

    async def stop(self, seconds_max: float = STOP_SECONDS_MAX) -> None:
        """End everything: services first, so that they can hand back what they hold. Safe to call twice.

        What has not ended after `seconds_max` is killed.
        """
        if self._supervisor is not None:
            await self._supervisor.stop_watching()
        running = [part for part in self._parts.values() if part.child is not None]
        first = [part for part in running if part.name in self.options.services]
        for group in (first, [part for part in running if part not in first]):
            await asyncio.gather(*(part.stop(seconds_max) for part in group), return_exceptions=True)
        if self._lock is not None:
            Endpoints.forget(self.places)
            self._ledger.file.unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    async def wait(self) -> None:
        """Until a part crashed too often: raises that StackError. Cancel it to leave."""
        raise await asyncio.shield(self.supervisor.failure)

    def pid(self, name: str) -> int:
        """The pid of a running part."""
        child = self._parts[name].child
        if child is None or child.exit_code is not None:
            raise StackError(f"{name} does not run.")
        return child.pid

    def kill(self, name: str) -> None:
        """kill -9 of one part; the supervisor starts it again."""
        child = self._parts[name].child
        if child is not None:
            child.kill()

    async def restart(self, name: str, faults: str = "") -> None:
        """Stop and start one part on purpose; a service may be given UCMESH_FAULTS for this one start.

        One that its fault kills before it serves is left to the supervisor: `supervisor.settled` waits for it.
        """
        part = self.supervisor.unwatch(name)
        await part.stop()
        if isinstance(part, ProgramPart):
            part.faults = faults
        try:
            await part.start()
        except StackError:
            if not faults:
                raise
        finally:
            self.supervisor.watch(part)
            self._write_pids()

    def _prepare(self) -> None:
        self.places.make()
        require_space(self.places.home)
        try:
            self._lock = Lock(self.places.run / "lock").take()
            left = self._ledger.end_leftovers()
            if left:
                self._on_event("stack", f"ended what an earlier run left: {', '.join(left)}")
            self._wiring = Wiring(self.places, self._ports(), self.options)
            (self.places.home / "simulator").mkdir(exist_ok=True)
            self.wiring.keys.issue_server_certificate()
            write_clients(self.wiring)
        except OSError as error:
            raise unwritable(error, self.places.home) from error
        everything: list[Part] = [PostgresPart(self.wiring), KafkaPart(self.wiring)]
        everything += [ProgramPart(program, self.wiring) for program in topology.programs(self.wiring)]
        self._parts = {part.name: part for part in everything}

    def _ports(self) -> dict[str, int]:
        """The ports of the last run where they are free, else new ones: addresses stay the same over restarts."""
        file = self.places.run / "ports.json"
        remembered: dict[str, int] = {}
        with contextlib.suppress(OSError, ValueError):
            remembered = {str(name): int(port) for name, port in orjson.loads(file.read_bytes()).items()}
        ports: dict[str, int] = {}
        for name in self.options.listeners:
            port = remembered.get(name, 0)
            if port and not port_is_free(port):
                self._on_event(name, f"port {port} is taken by another program; using another one")
                port = 0
            ports[name] = port or free_port(frozenset(ports.values()) | frozenset(remembered.values()))
        file.write_bytes(orjson.dumps(ports))
        return ports

    def _with_needs(self, names: Collection[str]) -> list[Part]:
        needed = {need for name in names for need in self._parts[name].needs}
        return [part for part in self._parts.values() if part.name in {*names, *needed}]

    async def _start_one(self, part: Part, started: dict[str, asyncio.Event]) -> None:
        for need in part.needs:
            await started[need].wait()
        began = time.monotonic()
        self._on_event(part.name, "starting")
        if part.name == "kafka":
            await asyncio.to_thread(jars.classpath, self.places.cache, self._jar_progress)
        await part.start()
        self.supervisor.watch(part)
        self._write_pids()
        self._on_event(part.name, f"ready after {time.monotonic() - began:.1f} s")
        started[part.name].set()

    def _jar_progress(self, done: int, total: int) -> None:
        self._on_event("kafka", f"jar {done} of {total} downloaded and checked")

    def _write_pids(self) -> None:
        running = {n: p.child.pid for n, p in self._parts.items() if p.child is not None and p.child.exit_code is None}
        self._ledger.write(running)


def purge(places: Places) -> None:
    """Forget the data of a stack that does not run: databases, topics, traces. Keys and the cache stay."""
    shutil.rmtree(reachable_folder(places.home / "postgres", unprivileged(), "postgres"), ignore_errors=True)
    for name in ("postgres", "kafka", "traces", "simulator"):
        shutil.rmtree(places.home / name, ignore_errors=True)


def write_clients(wiring: Wiring) -> None:
    """`issuer.json`: the clients the development issuer knows, with the digests of their secrets."""
    clients = {
        name: {
            "secret_sha256": hashlib.sha256(wiring.keys.password(f"client-{name}").encode()).hexdigest(),
            "scopes": scopes.split(),
        }
        for name, scopes in topology.CLIENTS.items()
    }
    part = wiring.places.home / "issuer.json.part"
    part.write_bytes(orjson.dumps({"clients": clients}, option=orjson.OPT_INDENT_2))
    part.replace(wiring.places.home / "issuer.json")
