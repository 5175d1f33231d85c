"""`ucmesh-simulator serve`: the composition root. Owns arguments, the seed file and the signals."""

import argparse
import asyncio
import gc
import os
import signal
import sys
from pathlib import Path
from typing import Any

import orjson
import uvloop
import yaml
from pydantic import ValidationError

from ucmesh_simulator import persistence
from ucmesh_simulator.admin.http import install
from ucmesh_simulator.knobs import KnobError
from ucmesh_simulator.seed import SeedFile
from ucmesh_simulator.server import Listeners, running
from ucmesh_simulator.tenant_builder import SeedError
from ucmesh_simulator.world import World

GC_THRESHOLDS = (50_000, 20, 50)
"""A tenant's objects stay, and nothing of a request makes a cycle: looking for them was a sixth of the CPU."""
ADMIN_TOKEN_VARIABLE = "UCMESH_SIMULATOR_ADMIN_TOKEN"  # noqa: S105  a name, not a token


def main(argv: list[str] | None = None) -> int:
    arguments = _arguments(argv)
    token = os.environ.get(ADMIN_TOKEN_VARIABLE, "")
    if not token:
        return _stop(f"set {ADMIN_TOKEN_VARIABLE} to the bearer token of the admin API")
    try:
        world = _world(arguments)
    except (OSError, ValueError, ValidationError, SeedError, KnobError) as wrong:
        return _stop(f"{arguments.seed_file}: {wrong}")
    listeners = Listeners(arguments.host, arguments.port, arguments.admin_port, arguments.certfile, arguments.keyfile)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        return uvloop.run(_serve(world, listeners, token, arguments.state_file))
    except OSError as wrong:
        return _stop(f"the state file cannot be written: {wrong}")


def _world(arguments: argparse.Namespace) -> World:
    """As it was left, else as seeded."""
    kept = persistence.load(arguments.state_file) if arguments.state_file is not None else None
    if kept is not None:
        return kept
    world = World(seed=arguments.seed)
    if arguments.zero_latency:
        world.turn({"zero_latency": True})
    if arguments.seed_file is not None:
        install(world, SeedFile.model_validate(_read(arguments.seed_file)))
    return world


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ucmesh-simulator", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="serve the Microsoft faces over TLS and the admin API on loopback")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=0, help="0 takes a free port")
    serve.add_argument("--admin-port", type=int, default=0)
    serve.add_argument(
        "--certfile", type=Path, help="PEM with the server's certificate; without it the faces speak plain http"
    )
    serve.add_argument("--keyfile", type=Path)
    serve.add_argument("--seed-file", type=Path, help="JSON or YAML")
    serve.add_argument(
        "--state-file", type=Path, help="keeps the tenants between runs; once it exists the seed file is not read"
    )
    serve.add_argument("--seed", default="1", help="makes ids, jitter and chance repeatable")
    serve.add_argument("--zero-latency", action="store_true", help="no delays, no throttling")
    return parser.parse_args(argv)


async def _serve(world: World, listeners: Listeners, token: str, state_file: Path | None) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with running(world, listeners, token) as up:
        _say({"event": "serving", "base_url": up.base_url, "admin_url": up.admin_url, "tenants": len(world.tenants)})
        stopped = asyncio.create_task(stop.wait())
        work = [*up.tasks]
        if state_file is not None:
            work.append(asyncio.create_task(persistence.keep_saved(world, state_file, stop)))
        await asyncio.wait([stopped, *work], return_when=asyncio.FIRST_COMPLETED)
        died = not stopped.done()
        stop.set()
        await asyncio.gather(*work[len(up.tasks) :])
    if state_file is not None:
        persistence.save(world, state_file)  # requests were still answered while the doors closed
    return 1 if died else 0


def _read(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    return orjson.loads(text) if path.suffix == ".json" else yaml.safe_load(text)


def _say(fields: dict[str, object]) -> None:
    sys.stderr.write(orjson.dumps(fields).decode() + "\n")
    sys.stderr.flush()


def _stop(text: str) -> int:
    sys.stderr.write(f"ucmesh-simulator: {text}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
