"""Roles live and die together, in bounded time, with an exit code that tells."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from mesh_runtime import roles
from mesh_runtime.roles import Role, RoleFailed, parse_roles, pause, run_roles
from mesh_runtime.settings import SettingsError


async def until_stopped(stop: asyncio.Event) -> None:
    await stop.wait()


def test_all_roles_are_selected_by_default_and_order_is_ours():
    assert parse_roles([]) == ["api", "consumer", "relay", "worker"]
    assert parse_roles(["worker", "api"]) == ["api", "worker"]
    assert parse_roles(["b"], known=("a", "b")) == ["b"]


def test_an_unknown_role_is_named():
    with pytest.raises(SettingsError, match="unknown role cook: use some of api, consumer, relay, worker"):
        parse_roles(["api", "cook"])


async def test_roles_stop_when_asked_and_finish_what_they_hold():
    stop, finished = asyncio.Event(), []

    async def draining(stop: asyncio.Event) -> None:
        await stop.wait()
        await asyncio.sleep(0.01)
        finished.append("drained")

    asyncio.get_running_loop().call_soon(stop.set)
    await run_roles([Role("a", draining), Role("b", until_stopped)], stop=stop)
    assert finished == ["drained"]


async def test_a_role_that_raises_stops_the_others_and_is_named():
    stopped = []

    async def failing(_: asyncio.Event) -> None:
        raise RuntimeError("broken")

    async def other(stop: asyncio.Event) -> None:
        await stop.wait()
        stopped.append("other")

    with pytest.raises(RoleFailed, match="role relay failed: RuntimeError: broken"):
        await run_roles([Role("relay", failing), Role("other", other)])
    assert stopped == ["other"]


async def test_a_role_that_just_ends_is_a_failure():
    async def ending(_: asyncio.Event) -> None:
        return None

    with pytest.raises(RoleFailed, match="role relay ended"):
        await run_roles([Role("relay", ending), Role("b", until_stopped)])


async def test_a_role_that_does_not_stop_is_cancelled_after_the_drain_time():
    stop, seen = asyncio.Event(), []

    async def stubborn(_: asyncio.Event) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("cancelled")

    stop.set()
    await run_roles([Role("a", stubborn)], drain_seconds=0.05, stop=stop)
    assert seen == ["cancelled"]


async def test_a_failure_while_draining_is_still_a_failure():
    stop = asyncio.Event()

    async def failing_late(stop: asyncio.Event) -> None:
        await stop.wait()
        raise RuntimeError("late")

    stop.set()
    with pytest.raises(RoleFailed, match="late"):
        await run_roles([Role("a", failing_late)], stop=stop)


async def test_cancelling_the_whole_still_drains_the_roles():
    stopped = []

    async def other(stop: asyncio.Event) -> None:
        await stop.wait()
        stopped.append("drained")

    task = asyncio.create_task(run_roles([Role("a", other)]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stopped == ["drained"]


async def test_a_pause_ends_with_its_event_or_its_time():
    event = asyncio.Event()
    assert not await pause(event, 0.001)
    asyncio.get_running_loop().call_soon(event.set)
    assert await pause(event, 60)


PROGRAM = """
import asyncio, sys
from mesh_runtime import roles
from mesh_runtime.settings import SettingsError

async def steady(stop):
    print("up", type(asyncio.get_running_loop()).__module__, flush=True)
    await stop.wait()
    print("draining", flush=True)

async def stubborn(stop):
    print("up", flush=True)
    await stop.wait()
    print("draining", flush=True)
    await asyncio.Event().wait()

async def failing(stop):
    raise RuntimeError("broken")

async def main():
    kind = sys.argv[1]
    if kind == "settings":
        raise SettingsError("cannot start, 1 setting to fix:\\n  X_Y: is not set")
    if kind == "raise":
        raise ValueError("odd")
    await roles.run_roles([roles.Role("only", globals()[kind])], drain_seconds=float(sys.argv[2]))

sys.exit(roles.main(main))
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_cleanly_on_uvloop(number):
    process = start("steady", "5")
    assert process.stdout.readline() == "up uvloop\n"
    os.kill(process.pid, number)
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, output) == (0, "draining\n"), errors


def test_a_second_signal_does_not_wait_for_the_drain_time():
    process = start("stubborn", "300")
    assert process.stdout.readline() == "up\n"
    os.kill(process.pid, signal.SIGTERM)
    assert process.stdout.readline() == "draining\n"
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("kind", "code", "text"),
    [
        ("failing", roles.EXIT_FAILED, "role only failed: RuntimeError: broken"),
        ("settings", roles.EXIT_SETTINGS, "cannot start, 1 setting to fix:\n  X_Y: is not set\n"),
        ("raise", roles.EXIT_FAILED, "odd"),
    ],
)
def test_the_exit_code_tells_what_happened(kind, code, text):
    process = start(kind, "1")
    output, errors = process.communicate(timeout=20)
    assert process.returncode == code
    assert text in output + errors
    if kind == "settings":
        assert errors == text
