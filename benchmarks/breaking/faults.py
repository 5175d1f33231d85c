"""One fault after the other, drawn from a seed: processes killed or paused, connections reset, cut or delayed.

Owns: what can be broken, and that everything is whole again when `run` has returned. Refuses: judging the outcome.
A real tenant does not forget: the simulator is asked to end, so that it saves, and never killed.
"""

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

import psutil

from support.jumping_clock import JumpingClock
from support.toxic import ToxicProxy
from ucmesh_embedded.errors import StackError
from ucmesh_embedded.stack import Stack
from ucmesh_embedded.supervisor import Event

EVERY_SECONDS = 1.0
FAULTS_A_START = 6
"""At most so many in the time that a first start of a service took: on a slow machine no replica would live to work."""
PAUSE_SECONDS = (2.5, 4.5)  # beyond every lease and poll interval of the run
CONNECTION_FAULT_SECONDS = (0.2, 2.0)
LATENCY_SECONDS = 0.3
STRANDING_SECONDS = 0.2
# No further back: to such a clock the run's certificates are not valid yet.
CLOCK_SECONDS = (-1_800, -30, 0, 30, 21_600)
SERVERS = ("postgres", "kafka", "simulator")
SETTLE_SECONDS_MAX = 300.0


@dataclass(slots=True)
class Faults:
    """`proxies` stand between the services and the servers of these names; `clock` is the wall clock of some services,
    None where none can be moved.
    """

    stack: Stack
    proxies: Mapping[str, ToxicProxy]
    seed: int
    tell: Event
    clock: JumpingClock | None
    every_seconds: float = EVERY_SECONDS
    counts: Counter[str] = field(default_factory=Counter)
    _busy: set[str] = field(default_factory=set)
    _stopped: set[int] = field(default_factory=set)

    async def run(self, over: asyncio.Event) -> None:
        """About one fault every `every_seconds` until `over`; ends with everything whole and serving."""
        draw = random.Random(f"faults-{self.seed}")
        kinds: dict[Callable[[random.Random], Coroutine[Any, Any, None] | None], int] = {
            self._kill_service: 6,
            self._pause_service: 4,
            self._kill_session: 3,
            self._kill_server: 1,
            self._pause_server: 2,
            self._restart_simulator: 1,
            self._reset: 2,
            self._cut: 3,
            self._delay: 2,
            self._strand: 1,
            self._jump: 1,
        }
        under_way: set[asyncio.Task[None]] = set()
        try:
            while not over.is_set():
                work = draw.choices(list(kinds), list(kinds.values()))[0](draw)
                if work is not None:
                    under_way.add(asyncio.create_task(work))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), self.every_seconds)
        finally:
            await asyncio.gather(*under_way, return_exceptions=True)
            self._heal()
        for task in under_way:
            task.result()
        for name in self.stack.options.everything:
            await self.stack.supervisor.settled(name, SETTLE_SECONDS_MAX)

    def _kill_service(self, draw: random.Random) -> Coroutine[Any, Any, None] | None:
        return self._kill(draw.choice(self.stack.options.services), "service killed")

    def _kill_server(self, draw: random.Random) -> Coroutine[Any, Any, None] | None:
        name = draw.choice(("postgres", "kafka"))
        return self._kill(name, f"{name} killed")

    def _kill(self, name: str, kind: str) -> Coroutine[Any, Any, None] | None:
        if not self._serves(name):
            return None
        self._note(kind, name)
        self.stack.kill(name)
        return None

    def _pause_service(self, draw: random.Random) -> Coroutine[Any, Any, None] | None:
        name, seconds = draw.choice(self.stack.options.services), draw.uniform(*PAUSE_SECONDS)
        return self._pause(name, seconds, "service paused") if self._serves(name) else None

    def _pause_server(self, draw: random.Random) -> Coroutine[Any, Any, None] | None:
        name, seconds = draw.choice(SERVERS), draw.uniform(*PAUSE_SECONDS)
        return self._pause(name, seconds, f"{name} paused") if self._serves(name) else None

    async def _pause(self, name: str, seconds: float, kind: str) -> None:
        """PostgreSQL is paused with all of its processes; a service without its session hosts."""
        pid = self.stack.pid(name)
        pids = [pid]
        if name == "postgres":
            pids += [child.pid for child in psutil.Process(pid).children(recursive=True)]
        self._note(kind, f"{name} for {seconds:.1f} s")
        self._busy.add(name)
        self._stopped.update(pids)
        _signal(pids, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            _signal(pids, signal.SIGCONT)
            self._stopped.difference_update(pids)
            self._busy.discard(name)

    def _kill_session(self, draw: random.Random) -> Coroutine[Any, Any, None] | None:
        hosts = [
            host.pid
            for name in self.stack.options.services
            if name.startswith("pwsh-gateway") and self._serves(name)
            for host in psutil.Process(self.stack.pid(name)).children()
        ]
        if hosts:
            pid = draw.choice(hosts)
            self._note("PowerShell session killed", str(pid))
            _signal([pid], signal.SIGKILL)
        return None

    def _restart_simulator(self, _: random.Random) -> Coroutine[Any, Any, None] | None:
        if self._serves("simulator"):
            self._note("simulator restarted", "simulator")
            _signal([self.stack.pid("simulator")], signal.SIGTERM)
        return None

    def _reset(self, draw: random.Random) -> Coroutine[Any, Any, None] | None:
        name = draw.choice(list(self.proxies))
        self._note(f"connections to {name} reset", name)
        self.proxies[name].reset_all()
        return None

    def _cut(self, draw: random.Random) -> Coroutine[Any, Any, None] | None:
        """The next answer of every connection is lost, after what was asked has been done."""
        name, seconds = draw.choice(list(self.proxies)), draw.uniform(*CONNECTION_FAULT_SECONDS)

        async def cut() -> None:
            self._note(f"answers of {name} lost", f"{name} for {seconds:.1f} s")
            self.proxies[name].cut_after_bytes = 1
            await asyncio.sleep(seconds)
            self.proxies[name].cut_after_bytes = None

        return cut()

    def _delay(self, draw: random.Random) -> Coroutine[Any, Any, None] | None:
        name, seconds = draw.choice(list(self.proxies)), draw.uniform(*CONNECTION_FAULT_SECONDS)

        async def delay() -> None:
            self._note(f"connections to {name} slow", f"{name} for {seconds:.1f} s")
            self.proxies[name].latency_seconds = LATENCY_SECONDS
            await asyncio.sleep(seconds)
            self.proxies[name].latency_seconds = 0

        return delay()

    def _strand(self, draw: random.Random) -> Coroutine[Any, Any, None] | None:
        """A replica's machine loses power: PostgreSQL does not hear of it and keeps what the replica had open."""
        name, proxy = draw.choice(self.stack.options.services), self.proxies["postgres"]
        if not self._serves(name):
            return None

        async def strand() -> None:
            self._note("service killed, its connections to postgres left open", name)
            proxy.stranding = True
            self.stack.kill(name)
            await asyncio.sleep(STRANDING_SECONDS)
            proxy.stranding = False

        return strand()

    def _jump(self, draw: random.Random) -> Coroutine[Any, Any, None] | None:
        """Until the next jump."""
        seconds = draw.choice(CLOCK_SECONDS)
        if self.clock is not None:
            self._note("clock of the second replicas jumped", f"{seconds:+d} s from the true time")
            self.clock.set(seconds)
        return None

    def _serves(self, name: str) -> bool:
        """It runs and nothing else is being done to it."""
        if name in self._busy:
            return False
        try:
            self.stack.pid(name)
        except StackError:
            return False
        return True

    def _note(self, kind: str, what: str) -> None:
        self.counts[kind] += 1
        self.tell("fault", f"{kind}: {what}")

    def _heal(self) -> None:
        _signal(list(self._stopped), signal.SIGCONT)
        if self.clock is not None:
            self.clock.set(0)
        for proxy in self.proxies.values():
            proxy.cut_after_bytes, proxy.latency_seconds, proxy.stranding = None, 0, False


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
