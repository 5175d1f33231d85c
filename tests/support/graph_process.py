"""The graph adapter as a process of its own: its environment, and starting it."""

import asyncio
import base64
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import orjson

from mesh_runtime.sealing import SealingKey
from support.simulated import Simulator


def environment(simulator: Simulator, url: str, kafka: str, home: Path, port: int) -> dict[str, str]:
    key = SealingKey.generate("graph-adapter")
    (home / "sealing.json").write_bytes(orjson.dumps(key.private_jwk))
    (home / "public.json").write_bytes(orjson.dumps(key.public_jwk))
    kek = {"active": "k1", "keys": {"k1": base64.b64encode(bytes(32)).decode()}}
    (home / "kek.json").write_bytes(orjson.dumps(kek))
    settings = {
        "DATABASE_URL": url,
        "KAFKA_BOOTSTRAP": kafka,
        "OIDC_ISSUER": "https://localhost:1",
        "HTTP_PORT": str(port),
        "KEK_FILE": str(home / "kek.json"),
        "SEALING_KEY_FILE": str(home / "sealing.json"),
        "LOGIN_URL": simulator.base_url,
        "GRAPH_URL": f"{simulator.base_url}/v1.0",
        "CA_FILE": str(simulator.ca_file),
        "LEASE_SECONDS": "2",
    }
    return {**os.environ, **{f"GRAPH_ADAPTER_{name}": value for name, value in settings.items()}}


@contextlib.asynccontextmanager
async def process(env: dict[str, str], *arguments: str, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    with log.open("ab") as out:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "graph_adapter", *arguments, env=env, stdout=out, stderr=out
        )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()
