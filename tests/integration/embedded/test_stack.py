"""A stack of the servers alone: one a folder, healed when killed, gone with its supervisor, clear when it cannot."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from support.killing import await_gone, kill_nine
from support.real_parts import cache, server_folder
from support.waiting import eventually_sync
from ucmesh_embedded import kafka, places, supervisor
from ucmesh_embedded.errors import StackError
from ucmesh_embedded.parts import http_status
from ucmesh_embedded.stack import Lock, Stack
from ucmesh_embedded.topology import Options

SERVERS = ("postgres", "kafka", "issuer", "traces")
RUN = """
import asyncio, sys
from pathlib import Path
from ucmesh_embedded.stack import Stack
async def main():
    stack = Stack(Path(sys.argv[1]))
    await stack.start(sys.argv[2:])
    print("up", *(stack.pid(name) for name in sys.argv[2:]), flush=True)
    await stack.wait()
asyncio.run(main())
"""


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("UCMESH_CACHE", str(cache()))
    with server_folder() as folder:
        yield folder / "home"


def in_process(home: Path, *names: str) -> tuple["subprocess.Popen[str]", list[int]]:
    """A stack in a process of its own; its pid and those of its parts."""
    process = subprocess.Popen([sys.executable, "-c", RUN, str(home), *names], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    said = process.stdout.readline().split()
    assert said[:1] == ["up"]
    return process, [int(pid) for pid in said[1:]]


@pytest.mark.kafka
@pytest.mark.postgres
async def test_every_killed_part_comes_back_on_its_address(home: Path) -> None:
    told: list[str] = []
    stack = Stack(home, Options(durable=False), lambda name, text: told.append(f"{name}: {text}"))
    endpoints = await stack.start(SERVERS)
    before = {name: stack.pid(name) for name in SERVERS}
    for name in SERVERS:
        stack.kill(name)
    await_gone(list(before.values()))
    for name in SERVERS:
        await stack.supervisor.settled(name)
    assert all(stack.pid(name) != before[name] for name in SERVERS)
    assert await kafka.answers(endpoints.kafka)
    assert await http_status(int(endpoints.url("issuer").rsplit(":", 1)[1]), "/health/ready") == 200
    assert "kafka: it was killed by signal 9; starting it again in 0.3 s" in told
    running = [stack.pid(name) for name in SERVERS]
    await stack.stop()
    await_gone(running)
    await stack.stop()
    assert not (home / "cli.json").exists()


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tying children to their parent is Linux only")
async def test_kill_of_the_supervisor_takes_its_children_and_the_next_start_is_clean(home: Path) -> None:
    supervising, children = in_process(home, "postgres", "kafka", "issuer")
    kill_nine(supervising.pid)
    supervising.wait(5)
    await_gone(children, seconds=15)
    assert Lock(home / "run" / "lock").holder() is None
    async with asyncio.timeout(60):
        stack = Stack(home)
        await stack.start(("postgres", "kafka", "issuer"))
        await stack.stop()


def test_a_second_start_says_that_one_runs(home: Path) -> None:
    running, _ = in_process(home, "issuer")
    second = Stack(home)
    with pytest.raises(StackError, match=rf"A stack runs here already \(pid {running.pid}\).\n.*dev down"):
        asyncio.run(second.start(("issuer",)))
    asyncio.run(second.stop())
    assert (home / "cli.json").exists()
    environment = os.environ | {"UCMESH_HOME": str(home)}
    down = subprocess.run(
        [sys.executable, "-m", "ucmesh_embedded", "down"], env=environment, capture_output=True, text=True, check=True
    )
    assert "Ended." in down.stdout
    assert running.wait(10) != 0
    status = subprocess.run([sys.executable, "-m", "ucmesh_embedded", "status"], env=environment, check=False)
    assert status.returncode == 3


async def test_a_taken_port_is_left_to_its_holder(home: Path) -> None:
    stack = Stack(home)
    await stack.start(("issuer",))
    port = stack.wiring.ports["issuer"]
    await stack.stop()
    with socket.create_server(("127.0.0.1", port)):
        told: list[str] = []
        stack = Stack(home, on_event=lambda name, text: told.append(f"{name}: {text}"))
        await stack.start(("issuer",))
        assert stack.wiring.ports["issuer"] != port
        await stack.stop()
    assert f"issuer: port {port} is taken by another program; using another one" in told


async def test_ports_stay_over_restarts(home: Path) -> None:
    ports = []
    for _ in range(2):
        stack = Stack(home)
        await stack.start(("issuer",))
        ports.append(dict(stack.wiring.ports))
        await stack.stop()
    assert ports[0] == ports[1]


async def test_a_part_that_cannot_start_ends_everything_with_its_last_lines(home: Path) -> None:
    home.mkdir()
    (home / "traces").mkdir()
    (home / "traces" / "spans.sqlite").mkdir()
    stack = Stack(home)
    with pytest.raises(StackError, match=r"(?s)traces ended with exit code 1 before it served.*spans\.sqlite"):
        await stack.start(("issuer", "traces"))
    assert Lock(home / "run" / "lock").holder() is None
    assert not (home / "stack.json").exists()


async def test_repeated_crashes_end_with_the_log(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "BACKOFF_FIRST_SECONDS", 0.01)
    stack = Stack(home)
    await stack.start(("issuer", "traces"))
    (home / "issuer.json").write_text("broken")
    stack.kill("issuer")
    with pytest.raises(StackError, match=r"(?s)issuer ended 5 times within 60 s.*JSONDecodeError") as told:
        async with asyncio.timeout(30):
            await stack.wait()
    assert "issuer.log" in told.value.remedy
    await stack.stop()


@pytest.mark.parametrize("content", [b"", b"garbage", b'{"issuer": "x"}'])
async def test_torn_files_of_the_last_run_do_not_matter(home: Path, content: bytes) -> None:
    (home / "run").mkdir(parents=True)
    for name in ("ports.json", "processes.json", "lock"):
        (home / "run" / name).write_bytes(content)
    (home / "stack.json").write_bytes(content)
    stack = Stack(home)
    await stack.start(("issuer",))
    assert orjson.loads((home / "stack.json").read_bytes())["urls"]["issuer"] == stack.endpoints.url("issuer")
    await stack.stop()


def test_ctrl_c_while_starting_ends_everything(home: Path) -> None:
    environment = os.environ | {"UCMESH_HOME": str(home)}
    up = subprocess.Popen(
        [sys.executable, "-m", "ucmesh_embedded", "up"], env=environment, stdout=subprocess.PIPE, text=True
    )
    pids = eventually_sync(lambda: pids_of(home), what="the first part")
    up.send_signal(signal.SIGINT)
    assert up.wait(30) == 130
    await_gone(pids)


def pids_of(home: Path) -> list[int]:
    try:
        return [pid for pid, _ in orjson.loads((home / "run" / "processes.json").read_bytes()).values()]
    except (OSError, ValueError):
        return []


async def test_a_message_names_what_the_disk_refused(home: Path) -> None:
    home.parent.joinpath("home").write_text("a file")
    with pytest.raises(StackError, match="cannot be written"):
        await Stack(home).start(("issuer",))


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of 60 MiB; skips where none can be mounted."""
    with server_folder() as folder:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=60m,mode=755", "tmpfs", folder], capture_output=True, check=False
        )
        if mounted.returncode:
            pytest.skip("mounting a small disk needs root")
        yield folder
        subprocess.run(["umount", folder], check=True)


async def test_a_small_disk_is_refused_before_anything_is_written(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UCMESH_CACHE", str(cache()))
    with pytest.raises(StackError, match=r"MiB are free where .* the stack needs 512 MiB"):
        await Stack(small_disk / "home").start(("postgres",))


@pytest.mark.postgres
@pytest.mark.parametrize("full", [False, True])
async def test_a_disk_that_fills_up_is_said(small_disk: Path, monkeypatch: pytest.MonkeyPatch, full: bool) -> None:
    monkeypatch.setenv("UCMESH_CACHE", str(cache()))
    monkeypatch.setattr(places, "FREE_BYTES_MIN", 0)
    if full:
        with pytest.raises(OSError, match="No space"):
            (small_disk / "fill").write_bytes(b"x" * (64 * 1024 * 1024))
    with pytest.raises(StackError, match="disk is full"):
        await Stack(small_disk / "home").start(("postgres",))


async def test_the_issuer_knows_the_stacks_clients(home: Path) -> None:
    stack = Stack(home)
    endpoints = await stack.start(("issuer",))
    profile = orjson.loads((home / "cli.json").read_bytes())
    assert profile["token_url"] == endpoints.token_url
    assert Path(profile["client_secret_file"]).read_text()
    assert await http_status(stack.wiring.ports["issuer"], "/jwks") == 200
    await stack.stop()
