"""`python -m ucmesh_embedded up|down|status|demo|fetch`: what `./dev` calls."""

import argparse
import asyncio
import contextlib
import importlib
import os
import signal
import sys
import time

from rich.console import Console
from rich.table import Table

from ucmesh_embedded import jars, topology
from ucmesh_embedded.endpoints import Endpoints
from ucmesh_embedded.errors import StackError
from ucmesh_embedded.places import Places
from ucmesh_embedded.stack import Lock, Stack, purge
from ucmesh_embedded.topology import Options

DOWN_SECONDS_MAX = 30.0
FIRST_STEPS = """\
NORTHWIND_BOOTSTRAP_SECRET=northwind-first-secret ./dev ucmesh customer apply -f examples/customers/northwind.yaml
      ./dev ucmesh hr send examples/hr/northwind.csv --customer northwind
      ./dev ucmesh plan list"""
console = Console(highlight=False)


def main(argv: list[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(prog="./dev")
    commands = arguments.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="bring the whole mesh up and keep it running")
    ending = commands.add_parser("down", help="end a running mesh")
    ending.add_argument("--purge", action="store_true", help="also forget its data")
    commands.add_parser("status", help="which parts run, and where")
    commands.add_parser("fetch", help="download what the stack needs")
    commands.add_parser("demo", help="the joiner demo", add_help=False)
    given, rest = arguments.parse_known_args(argv)
    if rest and given.command != "demo":
        arguments.error(f"unknown: {' '.join(rest)}")
    places = Places.from_environment()
    try:
        match given.command:
            case "up":
                return asyncio.run(up(places))
            case "down":
                return down(places, forget=given.purge)
            case "status":
                return status(places)
            case "fetch":
                places.make()
                jars.classpath(places.cache, lambda done, total: print(f"jar {done} of {total}", flush=True))
                return 0
            case _:
                return int(importlib.import_module("ucmesh_embedded.demo").main(rest))
    except StackError as error:
        console.print(f"[red]{error.message}[/red]", markup=True, soft_wrap=True)
        if error.remedy:
            console.print(error.remedy, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130


def show_event(name: str, text: str) -> None:
    console.print(f"  {name:<14} {text}", markup=False)


async def up(places: Places) -> int:
    """Run until Ctrl-C, SIGTERM or a part that crashes too often."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    tenants = topology.EXAMPLE_TENANTS if topology.EXAMPLE_TENANTS.exists() else None
    stack = Stack(places.home, Options(seed_file=tenants), show_event)
    starting = asyncio.create_task(stack.start())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            return 130
        show_endpoints(starting.result())
        console.print("Ctrl-C ends everything.")
        failing = asyncio.create_task(stack.wait())
        await asyncio.wait([failing, stopping], return_when=asyncio.FIRST_COMPLETED)
        if failing.done():
            failing.result()
        failing.cancel()
        console.print("Ending everything.")
        return 0
    finally:
        stopping.cancel()
        await stack.stop()


def show_endpoints(endpoints: Endpoints) -> None:
    table = Table("part", "address", title="ucmesh runs", title_justify="left")
    table.add_row("kafka", endpoints.kafka)
    for name, url in endpoints.urls.items():
        table.add_row(name, url)
    table.add_row("PowerShell", endpoints.pwsh)
    console.print(table)
    console.print("Next: " + FIRST_STEPS, soft_wrap=True)


def status(places: Places) -> int:
    """0 when a stack runs here, 3 when none does (as service managers answer)."""
    holder = Lock(places.run / "lock").holder()
    endpoints = Endpoints.running(places)
    if holder is None:
        console.print("No stack runs here. `./dev up` starts one.")
        return 3
    if endpoints is None:
        console.print(f"A stack is starting or ending (pid {holder}).")
        return 0
    show_endpoints(endpoints)
    return 0


def down(places: Places, *, forget: bool) -> int:
    lock = Lock(places.run / "lock")
    holder = lock.holder()
    if holder is not None:
        end(lock, holder)
    console.print("Ended." if holder else "No stack was running.")
    if forget:
        purge(places)
        console.print("Its data is gone; keys and the cache are kept.")
    return 0


def end(lock: Lock, holder: int) -> None:
    """SIGTERM, then SIGKILL: its children die with it."""
    deadline = time.monotonic() + DOWN_SECONDS_MAX
    with contextlib.suppress(ProcessLookupError):
        os.kill(holder, signal.SIGTERM)
    while lock.holder() == holder and time.monotonic() < deadline:
        time.sleep(0.1)
    if lock.holder() == holder:
        os.kill(holder, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
