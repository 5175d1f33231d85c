"""The HTTP server as a role: inside the process's own event loop, without touching its signals.

Owns the listening socket. Refuses to end the process itself: a port that is taken is an error of the role.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from mesh_runtime.health import Health
from mesh_runtime.logs import get_logger
from mesh_runtime.settings import ServiceSettings

BACKLOG = 2048
DRAIN_SECONDS = 5
KEEP_ALIVE_SECONDS = 30
HEADERS_BYTES_MAX = 32 * 1024
CONCURRENT_REQUESTS_MAX = 1000

_log = get_logger("mesh_runtime.server")


class _Embedded(uvicorn.Server):
    """uvicorn without its signal handlers; the process has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """Serves `app` until told to stop: `Role("api", Server(app, host, port).run)`. Port 0 takes a free one, see `port`.

    With `certfile` (PEM chain; the key in it or in `keyfile`) it serves HTTPS. Told to stop, it lets `health` say so
    and serves for `linger_seconds` more, so that a load balancer turns away before the port is closed.
    """

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        certfile: Path | str | None = None,
        keyfile: Path | str | None = None,
        *,
        health: Health | None = None,
        linger_seconds: float = 0,
    ) -> None:
        self.host = host
        self.port = port
        self.started = asyncio.Event()
        self._health = health
        self._linger_seconds = linger_seconds
        self._config = uvicorn.Config(
            app,
            host=host,
            port=port,
            ssl_certfile=certfile,
            ssl_keyfile=keyfile,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            backlog=BACKLOG,
            limit_concurrency=CONCURRENT_REQUESTS_MAX,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=DRAIN_SECONDS,
            h11_max_incomplete_event_size=HEADERS_BYTES_MAX,
        )

    @classmethod
    def of(cls, settings: ServiceSettings, app: ASGIApp, health: Health) -> Server:
        """The server a service's settings describe."""
        return cls(
            app,
            settings.http_host,
            settings.http_port,
            settings.http_cert_file,
            settings.http_key_file,
            health=health,
            linger_seconds=settings.http_linger_seconds,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Binds, serves, and drains when `stop` is set. Raises OSError when the address cannot be bound."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        # Bound here because uvicorn would end the process when the port is taken.
        listener = socket.create_server((self.host, self.port), family=family, backlog=BACKLOG)
        self.port = listener.getsockname()[1]
        server = _Embedded(self._config)
        with listener:
            serving = asyncio.create_task(server.serve(sockets=[listener]), name="uvicorn")
            stopping = asyncio.create_task(stop.wait())
            self.started.set()
            _log.info("http.listening", host=self.host, port=self.port)
            try:
                await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
                if self._health is not None:
                    self._health.stopping()
                await asyncio.wait([serving], timeout=self._linger_seconds)
            finally:
                stopping.cancel()
                server.should_exit = True
                await serving
