"""The images: every service has one, nobody is root, bases are given by whoever builds, names are those of the code."""

import subprocess
from pathlib import Path

import pytest

from support import declared, dockerfile
from support.dockerfile import Stage
from support.real_parts import ROOT

STAGES = dockerfile.stages()
SERVICES = declared.services()
IMAGES = {name: stage for name, stage in STAGES.items() if stage.base == "runtime"}


def test_every_service_and_every_tool_has_an_image() -> None:
    assert set(IMAGES) == {*SERVICES, "simulator", "cli", "topics"}


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_runs_its_service_on_the_port_that_is_asked_for_its_health(service: str) -> None:
    image, code = IMAGES[service], SERVICES[service]
    assert image.command("ENTRYPOINT") == ["python", "-m", code.module]
    own = {name: value for name, value in image.environment.items() if name.startswith(code.module.upper())}
    assert set(own) <= set(code.settings)
    assert own[code.variable("http_host")] == "0.0.0.0"
    port = own[code.http_port]
    url = STAGES["runtime"].health_command[-1]
    assert url.startswith(f"http://127.0.0.1:{port}/")
    assert url.partition(port)[2] in declared.health_paths()
    assert port in STAGES["runtime"].all("EXPOSE")


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_is_installed_by_the_one_script_from_a_member(image: str) -> None:
    build = STAGES[f"build-{image}"]
    [run] = build.all("RUN")
    script, member, place = run.split()
    assert (build.base, script, place) == ("build", "deploy/install.sh", "/opt/ucmesh")
    assert (ROOT / member / "pyproject.toml").exists()
    assert f"--from=build-{image} /opt/ucmesh /opt/ucmesh" in IMAGES[image].all("COPY")


def last_user(stage: Stage) -> str:
    return [*(last_user(STAGES[stage.base]) if stage.base in STAGES else "",), *stage.all("USER")][-1]


@pytest.mark.parametrize("image", IMAGES)
def test_no_image_runs_as_root(image: str) -> None:
    assert last_user(IMAGES[image]) == "10001:10001"


def test_base_images_are_arguments_without_a_tag_or_digest_of_ours() -> None:
    bases = {stage.base for stage in STAGES.values()} - set(STAGES)
    assert bases == {"${PYTHON_IMAGE}", "${POWERSHELL_IMAGE}"}
    assert "ARG PYTHON_IMAGE\n" in dockerfile.FILE.read_text()


def test_the_build_context_holds_what_is_copied_and_nothing_secret() -> None:
    ignored = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    allowed = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    copied = [
        source
        for stage in STAGES.values()
        for rest in stage.all("COPY")
        if not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    assert sorted(allowed) == sorted(copied)
    assert "*" in ignored


def test_the_linter_finds_a_mistake_and_none_here(tmp_path: Path) -> None:
    def lint(file: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["hadolint", file], capture_output=True, text=True, check=False, env=PATHS)

    assert lint(dockerfile.FILE).returncode == 0
    broken = tmp_path / "Dockerfile"
    broken.write_text(dockerfile.FILE.read_text().replace("COPY deploy/health.py", "ADD deploy/health.py"))
    assert lint(broken).returncode != 0


PATHS = {"PATH": f"{ROOT / '.venv' / 'bin'}:/usr/bin:/bin"}
