"""One process, two listeners: the Microsoft faces over TLS and the admin API over plain loopback HTTP. Owns starting
and stopping."""

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from ucmesh_simulator.admin.http import admin_app
from ucmesh_simulator.faces import Faces
from ucmesh_simulator.world import World

DRAIN_SECONDS = 1
STARTUP_SECONDS_MAX = 30.0


@dataclass(frozen=True, slots=True)
class Listeners:
    """`port` 0 takes a free one. `certfile` None serves the faces without TLS (unit tests only; MSAL refuses plain
    http)."""

    host: str = "127.0.0.1"
    port: int = 0
    admin_port: int = 0
    certfile: Path | None = None
    keyfile: Path | None = None


@dataclass(frozen=True, slots=True)
class Running:
    base_url: str
    admin_url: str
    tasks: tuple[asyncio.Task[None], ...]


@contextlib.asynccontextmanager
async def running(world: World, listeners: Listeners, admin_token: str) -> AsyncIterator[Running]:
    """Both listeners, accepting when the block starts and stopped when it ends."""
    faces = uvicorn.Config(
        Faces(world),
        host=listeners.host,
        port=listeners.port,
        ssl_certfile=listeners.certfile,
        ssl_keyfile=listeners.keyfile,
        **_COMMON,  # type: ignore[arg-type]
    )
    admin = uvicorn.Config(admin_app(world, admin_token), host="127.0.0.1", port=listeners.admin_port, **_COMMON)  # type: ignore[arg-type]
    servers = (_Server(faces), _Server(admin))
    tasks = tuple(asyncio.create_task(server.serve()) for server in servers)
    try:
        await _started(servers, tasks)
        scheme = "https" if listeners.certfile else "http"
        yield Running(
            base_url=f"{scheme}://{_public_name(listeners.host)}:{_port(servers[0])}",
            admin_url=f"http://127.0.0.1:{_port(servers[1])}",
            tasks=tasks,
        )
    finally:
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*tasks, return_exceptions=True)


_COMMON: dict[str, object] = {
    "http": "httptools",
    "loop": "auto",
    "log_level": "error",
    "access_log": False,
    "server_header": False,
    "proxy_headers": False,
    "date_header": True,
    "timeout_keep_alive": 75,
    "timeout_graceful_shutdown": DRAIN_SECONDS,
    "ws": "none",
}


class _Server(uvicorn.Server):
    """Leaves the signals to the caller: two servers share the process."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield


async def _started(servers: tuple[uvicorn.Server, ...], tasks: tuple[asyncio.Task[None], ...]) -> None:
    async with asyncio.timeout(STARTUP_SECONDS_MAX):
        while not all(server.started for server in servers):
            for task in tasks:
                if task.done():
                    task.result()
                    raise RuntimeError("a listener stopped while starting; is the port taken?")
            await asyncio.sleep(0.01)


def _public_name(host: str) -> str:
    """What clients on this machine call it; certificates of the stack are made out to localhost."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return "localhost" if address.is_loopback or address.is_unspecified else host


def _port(server: uvicorn.Server) -> int:
    return int(server.servers[0].sockets[0].getsockname()[1])
