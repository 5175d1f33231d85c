"""Restarts with backoff, and an end with a reason when a part keeps dying."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from support.waiting import eventually
from ucmesh_embedded import supervisor
from ucmesh_embedded.errors import StackError
from ucmesh_embedded.processes import Child, Command, spawn
from ucmesh_embedded.supervisor import Supervisor


class Program:
    """A part that runs one line of Python."""

    needs: Sequence[str] = ()

    def __init__(self, code: str, folder: Path) -> None:
        self.name = "program"
        self.log = folder / "program.log"
        self.starts = 0
        self._code = code
        self._child: Child | None = None

    @property
    def child(self) -> Child | None:
        return self._child

    async def start(self) -> None:
        self.starts += 1
        self._child = spawn(Command([sys.executable, "-c", self._code], self.log, {}))

    async def stop(self, seconds_max: float = 5) -> None:
        if self._child:
            await self._child.stop(seconds_max)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "BACKOFF_FIRST_SECONDS", 0.01)
    monkeypatch.setattr(supervisor, "WATCH_SECONDS", 0.02)


@pytest.mark.usefixtures("fast")
async def test_a_killed_part_is_started_again(tmp_path: Path) -> None:
    told: list[str] = []
    wrote: list[bool] = []
    watcher = Supervisor(lambda name, text: told.append(f"{name}: {text}"), lambda: wrote.append(True))
    part = Program("import time; time.sleep(600)", tmp_path)
    await part.start()
    watcher.watch(part)
    assert part.child
    part.child.kill()
    await eventually(lambda: part.starts == 2, what="a second start")
    await watcher.settled("program")
    assert told == ["program: it was killed by signal 9; starting it again in 0.0 s", "program: is back"]
    assert wrote
    await watcher.stop_watching()
    await part.stop()
    assert part.starts == 2


@pytest.mark.usefixtures("fast")
async def test_a_part_that_keeps_dying_ends_the_stack_with_its_last_lines(tmp_path: Path) -> None:
    watcher = Supervisor(lambda _name, _text: None, lambda: None)
    part = Program("import sys; sys.exit('no such table')", tmp_path)
    await part.start()
    watcher.watch(part)
    failure = await watcher.failure
    assert "program ended 5 times within 60 s (it ended with exit code 1)" in failure.message
    assert "no such table" in failure.message
    assert str(part.log) in failure.remedy
    with pytest.raises(StackError):
        await watcher.settled("program")
    await watcher.stop_watching()
