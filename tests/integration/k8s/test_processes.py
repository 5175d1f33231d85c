"""What network policies keep from Apache Kafka runs without it, in the environment its manifest gives it."""

import asyncio
import base64
import functools
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import orjson

from mesh_runtime.sealing import SealingKey
from support import manifest_traffic
from support.declared import Service
from support.manifest_checks import overlay
from support.manifest_references import environment_with_files
from support.manifests import Workload
from support.waiting import PATIENCE, eventually
from ucmesh_embedded.places import free_port

NOBODY = "127.0.0.1:1"
KEY = SealingKey.generate("any")
FILES = {
    "kek.json": {"active": "k1", "keys": {"k1": base64.b64encode(bytes(32)).decode()}},
    "sealing.json": KEY.private_jwk,
    "cert-manager.jwk.json": KEY.public_jwk,
    "receivers.json": {"graph-adapter": KEY.public_jwk, "pwsh-gateway": KEY.public_jwk},
}


class EndedEarly(Exception):  # noqa: N818
    """The process is gone; waiting for it would be in vain."""


def told(environment: Mapping[str, str], service: Service, database_url: str, port: int) -> dict[str, str]:
    """The manifest's environment; addresses are replaced by a database of ours and by nobody."""
    secrets = Path(environment[service.secrets_dir_variable])
    for file in secrets.iterdir():
        content = FILES.get(file.name)
        file.write_text(database_url if content is None else orjson.dumps(content).decode())
    replaced = {
        "http_host": "127.0.0.1",
        "http_port": str(port),
        "kafka_bootstrap": NOBODY,
        "oidc_issuer": f"https://{NOBODY}",
        "otlp_endpoint": f"http://{NOBODY}",
    } | ({"backend": "simulated"} if service.name == "pwsh-gateway" else {})
    inherited = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    own = {service.variable(field): value for field, value in replaced.items()}
    return {**inherited, **environment, **own, "TMPDIR": str(secrets)}


async def serves_and_ends(workload: Workload, service: Service, database_url: str, port: int) -> None:
    with environment_with_files(overlay("production"), workload) as given:
        environment = told(given, service, database_url, port)
        container = workload.container
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            *container["command"][1:],
            *container["args"],
            env=environment,
            stderr=asyncio.subprocess.PIPE,
        )
        said = asyncio.create_task(child.communicate())
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:

                async def passes(probe: str) -> bool:
                    if child.returncode is not None:
                        raise EndedEarly(workload.name)
                    try:
                        answer = await client.get(container[probe]["httpGet"]["path"])
                    except httpx.TransportError:
                        return False
                    return answer.status_code == 200

                for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                    await eventually(functools.partial(passes, probe), seconds=60, what=f"{probe} of {workload.name}")
            child.send_signal(signal.SIGTERM)
            grace_seconds = workload.spec["terminationGracePeriodSeconds"]
            _, errors = await asyncio.wait_for(said, grace_seconds * PATIENCE)
            assert child.returncode == 0, errors.decode()
            assert b"roles.stopped" in errors, errors.decode()
        finally:
            if child.returncode is None:
                child.kill()
            await asyncio.gather(said, return_exceptions=True)


async def test_what_may_not_reach_kafka_needs_none(fresh_database: Callable[[], str]) -> None:
    kept_away = [
        (workload, service)
        for workload, service in overlay("production").services()
        if workload.runs_on and "kafka" not in manifest_traffic.needs(workload, service)
    ]
    assert len(kept_away) == 4
    databases = {service.name: fresh_database() for _, service in kept_away}
    ports: list[int] = []
    for _ in kept_away:
        ports.append(free_port(frozenset(ports)))
    async with asyncio.TaskGroup() as processes:
        for (workload, service), port in zip(kept_away, ports, strict=True):
            processes.create_task(serves_and_ends(workload, service, databases[service.name], port))
