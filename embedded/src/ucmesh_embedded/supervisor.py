"""Keeps the parts of a stack alive: watches pids, starts again what died, gives up with a reason.

Owns: restarts, their backoff and the limit of crashes. Refuses: start order (stack.py) and what a part is.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ucmesh_embedded.errors import StackError
from ucmesh_embedded.processes import STOP_SECONDS_MAX, Child, bound_log, tail

WATCH_SECONDS = 0.2
BACKOFF_FIRST_SECONDS = 0.3
BACKOFF_CAP_SECONDS = 10.0
CRASH_WINDOW_SECONDS = 60.0

Event = Callable[[str, str], None]


class Part(Protocol):
    """One supervised program. `start` returns when it serves; calling it again after its end starts it anew."""

    name: str
    needs: Sequence[str]

    @property
    def child(self) -> Child | None: ...

    @property
    def log(self) -> Path: ...

    async def start(self) -> None: ...

    async def stop(self, seconds_max: float = STOP_SECONDS_MAX) -> None: ...


class Supervisor:
    """Watches parts from the moment they are handed over until `stop` is called."""

    def __init__(self, on_event: Event, on_pids: Callable[[], None], crashes_max: int = 5) -> None:
        self._on_event = on_event
        self._crashes_max = crashes_max
        self._on_pids = on_pids
        self._parts: dict[str, Part] = {}
        self._restarting: dict[str, asyncio.Task[None]] = {}
        self._crashes: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=crashes_max))
        self._watching: asyncio.Task[None] | None = None
        self.failure: asyncio.Future[StackError] = asyncio.get_running_loop().create_future()

    @property
    def parts(self) -> Mapping[str, Part]:
        return self._parts

    def watch(self, part: Part) -> None:
        """From now on a death of this part is answered with a restart."""
        self._parts[part.name] = part
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())

    def unwatch(self, name: str) -> Part:
        """Leave a part alone, to end it on purpose; `watch` takes it back."""
        return self._parts.pop(name)

    async def stop_watching(self) -> None:
        """No restarts any more; those under way are abandoned."""
        tasks = [task for task in (self._watching, *self._restarting.values()) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def settled(self, name: str, seconds_max: float = 60) -> None:
        """Wait until a part that died serves again."""
        deadline = time.monotonic() + seconds_max
        while self._dead(self._parts[name]) or name in self._restarting:
            if self.failure.done():
                raise self.failure.result()
            if time.monotonic() > deadline:
                raise StackError(f"{name} did not come back within {seconds_max:.0f} s.")
            await asyncio.sleep(WATCH_SECONDS / 4)

    async def _watch(self) -> None:
        while not self.failure.done():
            for part in list(self._parts.values()):
                bound_log(part.log)
                if self._dead(part) and part.name not in self._restarting:
                    self._restarting[part.name] = asyncio.create_task(self._restart(part))
            await asyncio.sleep(WATCH_SECONDS)

    @staticmethod
    def _dead(part: Part) -> bool:
        return part.child is None or part.child.exit_code is not None

    async def _restart(self, part: Part) -> None:
        """Start the part until it serves, or too many deaths came too fast."""
        try:
            while True:
                crashes = self._crashes[part.name]
                crashes.append(time.monotonic())
                if len(crashes) == self._crashes_max and crashes[-1] - crashes[0] < CRASH_WINDOW_SECONDS:
                    self._give_up(part)
                    return
                recent = sum(1 for at in crashes if crashes[-1] - at < CRASH_WINDOW_SECONDS)
                delay = min(BACKOFF_FIRST_SECONDS * 2 ** (recent - 1), BACKOFF_CAP_SECONDS)
                self._on_event(part.name, f"{ending(part.child)}; starting it again in {delay:.1f} s")
                await asyncio.sleep(delay)
                try:
                    await part.start()
                except StackError as error:
                    self._on_event(part.name, error.message.splitlines()[0])
                    continue
                self._on_pids()
                self._on_event(part.name, "is back")
                return
        finally:
            self._restarting.pop(part.name, None)

    def _give_up(self, part: Part) -> None:
        if not self.failure.done():
            self.failure.set_result(
                StackError(
                    f"{part.name} ended {self._crashes_max} times within {CRASH_WINDOW_SECONDS:.0f} s "
                    f"({ending(part.child)}). Its last lines were:\n{tail(part.log)}",
                    remedy=f"The whole log is {part.log}.",
                )
            )


def ending(child: Child | None) -> str:
    """How a process ended, in words."""
    code = child.exit_code if child else None
    if code is None:
        return "it did not start"
    return f"it was killed by signal {-code}" if code < 0 else f"it ended with exit code {code}"
