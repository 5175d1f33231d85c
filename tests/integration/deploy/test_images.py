"""What the images install and start, without a container engine: the Dockerfile's own steps, run in a folder."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from support import dockerfile
from support.real_parts import ROOT
from support.waiting import eventually
from ucmesh_embedded.places import free_port

pytestmark = pytest.mark.timeout(600)

HEALTH = ROOT / "deploy" / "health.py"
TOOLS = {"uv", "pip", "hatchling", "pytest", "ruff", "mypy", "hypothesis"}
Install = Callable[[str], Path]


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory) -> Install:
    """Does for a target what its build stages do, in a copy of the context; the folder that /opt/ucmesh became."""
    context = tmp_path_factory.mktemp("context")
    stages = dockerfile.stages()
    for rest in stages["build"].all("COPY"):
        *sources, _ = rest.split()
        for source in sources:
            target = context / source
            target.parent.mkdir(parents=True, exist_ok=True)
            ignore = shutil.ignore_patterns("__pycache__", ".*")
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, target, ignore=ignore)
            else:
                shutil.copy(ROOT / source, target)

    def installed(target: str) -> Path:
        place = tmp_path_factory.mktemp(target) / "ucmesh"
        [step] = stages[f"build-{target}"].all("RUN")
        env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        argv = step.replace("/opt/ucmesh", str(place)).split()
        subprocess.run(argv, cwd=context, env=env, check=True, timeout=500)
        return place

    return installed


def entrypoint(place: Path, target: str) -> list[str]:
    program, *rest = dockerfile.stages()[target].command("ENTRYPOINT")
    return [str(place / "bin" / program), *rest]


def run(argv: list[str], env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    own = {"PATH": "/usr/bin:/bin", "PYTHONSAFEPATH": "1", **(env or {})}
    return subprocess.run(argv, env=own, cwd="/", capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.postgres
async def test_the_orchestrator_of_the_image_migrates_serves_and_drains(
    install: Install, postgres_url: str, tmp_path: Path
) -> None:
    place = install("orchestrator")
    installed = {path.name.partition("-")[0] for path in place.glob("lib/*/site-packages/*.dist-info")}
    assert "ucmesh_orchestrator" in installed
    assert not installed & TOOLS
    assert not [*place.glob("lib/*/site-packages/*editable*"), *place.glob("lib/*/site-packages/ucmesh*.pth")]
    start = entrypoint(place, "orchestrator")
    bare = run(start)
    assert (bare.returncode, "ORCHESTRATOR_DATABASE_URL: is not set" in bare.stderr) == (2, True)

    secrets = tmp_path / "secrets"
    subprocess.run([sys.executable, ROOT / "deploy" / "make_secrets.py", secrets], check=True, capture_output=True)
    port = free_port()
    env = {
        "ORCHESTRATOR_DATABASE_URL": postgres_url,
        "ORCHESTRATOR_KAFKA_BOOTSTRAP": "127.0.0.1:1",
        "ORCHESTRATOR_OIDC_ISSUER": "https://localhost:1",
        "ORCHESTRATOR_HTTP_PORT": str(port),
        "ORCHESTRATOR_KEK_FILE": str(secrets / "services/orchestrator/kek.json"),
        "ORCHESTRATOR_CERT_MANAGER_JWK_FILE": str(secrets / "services/orchestrator/cert-manager.jwk.json"),
    }
    migrated = run([*start, "migrate"], env)
    assert migrated.returncode == 0, migrated.stderr
    with (tmp_path / "log").open("wb") as log:
        child = await asyncio.create_subprocess_exec(*start, "api", env=env, cwd="/", stdout=log, stderr=log)
    try:
        await eventually(lambda: is_healthy(f"http://127.0.0.1:{port}/health/ready"), seconds=30, what="health")
        child.terminate()
        assert await asyncio.wait_for(child.wait(), 60) == 0
        assert not is_healthy(f"http://127.0.0.1:{port}/health/ready")
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


async def test_the_simulator_of_the_image_serves(install: Install, tmp_path: Path) -> None:
    place = install("simulator")
    secrets = tmp_path / "secrets"
    subprocess.run([sys.executable, ROOT / "deploy" / "make_secrets.py", secrets], check=True, capture_output=True)
    port = free_port()
    start = [part.replace("8443", str(port)) for part in entrypoint(place, "simulator")]
    pair = ["--certfile", str(secrets / "simulator/server.pem"), "--keyfile", str(secrets / "simulator/server.pem")]
    env = {"UCMESH_SIMULATOR_ADMIN_TOKEN": "secret"}
    with (tmp_path / "log").open("wb") as log:
        child = await asyncio.create_subprocess_exec(*start, *pair, env=env, cwd="/", stdout=log, stderr=log)
    try:
        url = dockerfile.stages()["simulator"].health_command[-1].replace("8443", str(port))
        await eventually(lambda: is_healthy(url), seconds=30, what="health")
    finally:
        child.kill()
        await child.wait()


def test_the_topics_image_has_its_command_and_the_libraries_of_make_secrets(install: Install, tmp_path: Path) -> None:
    place = install("topics")
    assert run([*entrypoint(place, "topics"), "--help"]).returncode == 0
    made = run([str(place / "bin" / "python"), str(ROOT / "deploy" / "make_secrets.py"), str(tmp_path / "secrets")])
    assert made.returncode == 0, made.stderr


def is_healthy(url: str) -> bool:
    return subprocess.run([sys.executable, HEALTH, url], capture_output=True, timeout=60, check=False).returncode == 0
