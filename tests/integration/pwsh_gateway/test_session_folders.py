"""A session's folder: gone with the session, or with the next gateway when its own was killed."""

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pwsh_gateway.adapters.hosts.process import HostCommand, HostProcess, Listener, sweep

HOST = HostCommand((sys.executable, "-c", "import os; print(os.getcwd(), flush=True); input()"))
KILLED = """
import asyncio, os, sys
from pwsh_gateway.adapters.hosts.process import HostCommand, HostProcess, Listener
async def main():
    said = asyncio.Event()
    nothing = lambda *_: None
    await HostProcess.start(HostCommand(sys.argv[1:]), Listener(lambda _: said.set(), nothing, nothing))
    await said.wait()
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


async def test_a_folder_stays_while_its_gateway_lives(folder: Path) -> None:
    said: asyncio.Queue[bytes] = asyncio.Queue()
    host = await HostProcess.start(HOST, Listener(said.put_nowait, lambda _: None, lambda: None))
    (there,) = folder.iterdir()
    assert (await said.get()).decode().strip() == str(there)
    assert sweep() == 0
    # A gateway in another container, with the same temporary folder, knows none of our processes.
    found = subprocess.run(
        [sys.executable, "-c", "from pwsh_gateway.adapters.hosts.process import sweep; print(sweep())"],
        env={**os.environ, "TMPDIR": str(folder)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (found.stdout.strip(), list(folder.iterdir())) == ("0", [there])
    host.kill()
    await host.closed()
    assert list(folder.iterdir()) == []


def test_the_folder_of_a_killed_gateway_is_swept_once(folder: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *HOST.argv], env={**os.environ, "TMPDIR": str(folder)}, check=False
    )
    assert killed.returncode == -9
    (there,) = folder.iterdir()
    # A process with the dead gateway's id must not keep it: in a container everybody is number 1.
    assert (sweep(), there.exists(), sweep()) == (1, False, 0)


def test_what_is_not_a_sessions_folder_is_left_alone(folder: Path) -> None:
    (folder / "ucmesh-new-session-being-made").mkdir()
    (folder / "somebody-else").mkdir()
    assert (sweep(), len(list(folder.iterdir()))) == (0, 2)
