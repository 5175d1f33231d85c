"""The whole mesh for tests that go through public doors: a stack in a thread of its own, and clients for its doors.

The stack needs an event loop that lives as long as it does, while each test has a loop of its own; hence the thread.
"""

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

import httpx

from support.real_parts import cache
from ucmesh_embedded import topology
from ucmesh_embedded.endpoints import Endpoints
from ucmesh_embedded.stack import Stack, purge
from ucmesh_embedded.supervisor import Part
from ucmesh_embedded.topology import KAFKA_DOOR, Options

START_SECONDS_MAX = 180
CALL_SECONDS_MAX = 120
COMMAND_SECONDS_MAX = 120
LOG_CHARACTERS = 6_000
T = TypeVar("T")


class Proxy(Protocol):
    """Something between services and a server."""

    port: int
    upstream_port: int

    async def up(self) -> Any: ...

    async def down(self) -> None: ...


class Mesh:
    """A running stack, its servers behind `proxies` by their names. Everything here is callable from a test with or
    without a running loop.
    """

    def __init__(self, home: Path, options: Options, proxies: Mapping[str, Proxy] = MappingProxyType({})) -> None:
        self.told: list[str] = []
        self._proxies = proxies
        self._ended: dict[str, Part] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mesh", daemon=True)
        self._thread.start()
        for proxy in proxies.values():
            self._call(proxy.up(), CALL_SECONDS_MAX)
        doors = {name: proxy.port for name, proxy in proxies.items()}
        self.stack = Stack(home, replace(options, doors=doors), self._tell, cache())

    @property
    def endpoints(self) -> Endpoints:
        return self.stack.endpoints

    def start(self, names: tuple[str, ...] = ()) -> None:
        """The named parts (none: all) that do not run yet."""
        self._call(self.stack.start(names), START_SECONDS_MAX)

    def stop(self) -> None:
        self._call(self.stack.stop(seconds_max=2), CALL_SECONDS_MAX)
        for proxy in self._proxies.values():
            self._call(proxy.down(), CALL_SECONDS_MAX)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def kill(self, name: str) -> None:
        """kill -9; the supervisor starts the part again."""
        self.stack.kill(name)

    def settled(self, name: str) -> None:
        """Wait until a part that died serves again."""
        self._call(self.stack.supervisor.settled(name), CALL_SECONDS_MAX)

    @contextlib.contextmanager
    def without(self, name: str) -> Iterator[None]:
        """One part is stopped for the block."""
        part = self.stack.supervisor.unwatch(name)
        self._call(part.stop(), CALL_SECONDS_MAX)
        try:
            yield
        finally:
            self._call(part.start(), CALL_SECONDS_MAX)
            self.stack.supervisor.watch(part)

    def restart(self, name: str, faults: str = "") -> None:
        """Stop and start one part, a service with UCMESH_FAULTS for this one start if given."""
        self._call(self.stack.restart(name, faults), CALL_SECONDS_MAX)

    def log(self, name: str) -> str:
        """The end of what a part has written."""
        return (self.stack.places.logs / f"{name}.log").read_text()[-LOG_CHARACTERS:]

    def end(self, *names: str) -> None:
        """Stop parts; the supervisor leaves them down until `begin`."""
        for name in names:
            part = self.stack.supervisor.unwatch(name)
            self._call(part.stop(), CALL_SECONDS_MAX)
            self._ended[name] = part

    def begin(self, *names: str) -> None:
        """Start parts that `end` stopped."""
        for name in names:
            part = self._ended.pop(name)
            self._call(part.start(), CALL_SECONDS_MAX)
            self.stack.supervisor.watch(part)

    def command(self, service: str, *arguments: str, faults: str = "") -> subprocess.CompletedProcess[str]:
        """One command of a service, such as `reseal`, in the environment the service runs with."""
        program = next(each for each in topology.programs(self.stack.wiring) if each.name == service)
        environment = {**topology.base_environment(self.stack.places), **program.environment, "UCMESH_FAULTS": faults}
        argv = [sys.executable, "-m", *program.arguments, *arguments]
        return subprocess.run(
            argv, env=environment, capture_output=True, text=True, timeout=COMMAND_SECONDS_MAX, check=False
        )

    def token(self, scope: str = "") -> str:
        """An access token of the CLI's client."""
        secret = Path(self.endpoints.client_secret_file).read_text()
        form = {"grant_type": "client_credentials", "scope": scope}
        answer = httpx.post(self.endpoints.token_url, data=form, auth=(self.endpoints.client_id, secret))
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def client(self, name: str) -> httpx.Client:
        """A client of a part's HTTP door with a full token; of `simulator-admin` with its own."""
        if name == "simulator-admin":
            token = Path(self.endpoints.simulator_admin_token_file).read_text()
        else:
            token = self.token()
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.endpoints.url(name), headers=headers, timeout=30, trust_env=False)

    def _tell(self, name: str, text: str) -> None:
        self.told.append(f"{name}: {text}")
        if name in self._proxies and text == "starting":
            listener = KAFKA_DOOR if name == "kafka" else name
            self._proxies[name].upstream_port = self.stack.wiring.ports[listener]

    def _call(self, work: Coroutine[Any, Any, T], seconds_max: float) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds_max)


@contextlib.contextmanager
def running(
    home: Path,
    options: Options,
    names: tuple[str, ...] = (),
    proxies: Mapping[str, Proxy] = MappingProxyType({}),
) -> Iterator[Mesh]:
    """A mesh for the length of the block; its data is gone afterwards, the checkout's cache is used and kept."""
    mesh = Mesh(home, options, proxies)
    mesh.start(names)
    try:
        yield mesh
    finally:
        mesh.stop()
        purge(mesh.stack.places)
