"""Children: they die with their parent, end within a bound, and are recognised after a supervisor's death."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson
import psutil
import pytest

from support.killing import alive, await_gone, kill_nine
from support.waiting import eventually_sync
from ucmesh_embedded.errors import StackError
from ucmesh_embedded.processes import Command, Ledger, bound_log, spawn, tail

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]
PARENT = """
import sys, time
from pathlib import Path
from ucmesh_embedded.processes import Command, spawn
child = spawn(Command([sys.executable, "-c", "import time; time.sleep(600)"], Path(sys.argv[1]), {}))
print(child.pid, flush=True)
time.sleep(600)
"""


def command(argv: list[str], folder: Path) -> Command:
    return Command(argv, folder / "out.log", {"PATH": os.environ["PATH"]})


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tying a child's life to its parent's is Linux only")
def test_kill_of_the_parent_ends_the_child(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    child = int(parent.stdout.readline())
    kill_nine(parent.pid)
    parent.wait(5)
    await_gone([child], seconds=5)


async def test_a_child_that_ignores_the_request_is_killed_within_the_bound(tmp_path: Path) -> None:
    child = spawn(command(STUBBORN, tmp_path))
    eventually_sync(lambda: "up" in child.tail(), what="the child's output")
    began = time.monotonic()
    await child.stop(seconds_max=0.3)
    assert child.exit_code == -signal.SIGKILL
    assert time.monotonic() - began < 5


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="no-such-program cannot be started"):
        spawn(command(["no-such-program"], tmp_path))


def test_the_tail_is_of_this_start_only(tmp_path: Path) -> None:
    (tmp_path / "out.log").write_text("No space left on device\n")
    child = spawn(command([sys.executable, "-c", "print('fresh')"], tmp_path))
    child.popen.wait(10)
    assert child.tail() == "fresh"


def test_a_long_log_is_cut_and_one_former_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("old line\n" * 1000)
    bound_log(log, bytes_max=100)
    assert log.stat().st_size == 0
    assert tail(tmp_path / "x.log.1", 1) == "old line"


def test_leftovers_of_a_killed_supervisor_are_ended(tmp_path: Path) -> None:
    child = spawn(command(STUBBORN, tmp_path))
    eventually_sync(lambda: "up" in child.tail(), what="the child's output")
    Ledger(tmp_path / "pids").write({"kafka": child.pid})
    assert Ledger(tmp_path / "pids").end_leftovers(seconds_max=0.3) == ["kafka"]
    assert not alive(child.pid)


def test_a_pid_that_is_somebody_elses_by_now_is_left_alone(tmp_path: Path) -> None:
    child = spawn(command(SLEEP, tmp_path))
    created = psutil.Process(child.pid).create_time()
    ledger = Ledger(tmp_path / "pids")
    ledger.file.write_bytes(orjson.dumps({"kafka": [child.pid, created - 60]}))
    assert ledger.end_leftovers() == []
    assert alive(child.pid)
    child.kill()


@pytest.mark.parametrize("content", [b"", b"garbage", b"[]", b'{"a": 1}'])
def test_a_torn_pid_file_means_no_leftovers(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pids").write_bytes(content)
    assert Ledger(tmp_path / "pids").leftovers() == {}
