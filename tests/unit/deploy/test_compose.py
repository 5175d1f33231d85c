"""The compose file: every name in it exists in the code, every container is closed as far as it can be."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh_messaging.topics import load
from mesh_messaging.topics.__main__ import TopicsSettings
from mesh_runtime.settings import ServiceSettings, load_settings
from support import compose, declared, dockerfile
from support.compose import DEPLOY
from support.real_parts import ROOT
from ucmesh_embedded import topology

GIVEN = {name: f"given-{name.lower()}" for name, default in compose.variables().items() if default is None} | {
    "UCMESH_OIDC_ISSUER": "https://issuer.example",
}
DOCUMENT = compose.rendered(GIVEN)
CONTAINERS: dict[str, dict[str, Any]] = DOCUMENT["services"]
SERVICES = declared.services()
JOBS = {name for name, container in CONTAINERS.items() if str(container["restart"]).startswith("on-failure")}
OURS = {name: container for name, container in CONTAINERS.items() if "/Dockerfile" in str(container.get("build", ""))}
DISTROLESS = {"otel-collector", "jaeger"}
"""Images without any program but their own: nothing in them can ask for health."""


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deploy") / "secrets"
    subprocess.run([sys.executable, DEPLOY / "make_secrets.py", folder], check=True, capture_output=True)
    return folder


def environment(container: dict[str, Any], secrets: Path) -> dict[str, str]:
    """What the container's process sees, with the mounted secrets where they lie here."""
    image = container["image"].rpartition("/")[2].partition(":")[0]
    [mount] = [v["source"] for v in container["volumes"] if v["target"] == "/run/secrets"]
    place = str(secrets / str(mount).removeprefix("./secrets/"))
    told = dockerfile.stages()[image].environment | container["environment"]
    return {variable: str(value).replace("/run/secrets", place) for variable, value in told.items()}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("suffix", ["", "-migrate"])
@pytest.mark.parametrize("more", [{}, compose.env_file("demo.env")], ids=["microsoft", "demo"])
def test_a_service_starts_with_what_it_is_told(
    service: str, suffix: str, more: dict[str, str], secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = SERVICES[service]
    told = environment(compose.rendered(GIVEN | more)["services"][f"{service}{suffix}"], secrets)
    own = {name for name in told if name.startswith(f"{code.module.upper()}_")}
    assert own <= {*code.settings, code.secrets_dir_variable}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(code.settings_class)
    assert isinstance(settings, ServiceSettings)
    assert (settings.kafka_security_protocol, settings.kafka_sasl_mechanism) == ("SASL_SSL", "SCRAM-SHA-512")
    assert f"User:{settings.kafka_sasl_username}" == f"User:{service}"
    assert settings.database_url.get_secret_value().endswith(f"@postgres:5432/{code.module}")


@pytest.mark.parametrize("job", ["kafka-topics", "kafka-passwords"])
def test_topics_are_applied_by_the_brokers_administrator(
    job: str, secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(CONTAINERS[job], secrets).items():
        monkeypatch.setenv(name, value)
    settings = load_settings(TopicsSettings)
    properties = server_properties()
    assert f"User:{settings.kafka_sasl_username}" in properties["super.users"].split(";")
    port = properties["advertised.listeners"].partition("CLIENTS://kafka:")[2].partition(",")[0]
    assert settings.kafka_bootstrap == f"kafka:{port}"


def server_properties() -> dict[str, str]:
    lines = (DEPLOY / "kafka" / "server.properties").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_every_user_of_the_topics_file_gets_a_password(secrets: Path) -> None:
    users = {principal.removeprefix("User:") for principal in load(topology.TOPICS_FILE).principals}
    assert {file.name for file in (secrets / "kafka-users").iterdir()} == {*users, "admin"}


def test_a_service_starts_after_its_migration_and_its_topics() -> None:
    for service in SERVICES:
        done = {name for name, how in CONTAINERS[service]["depends_on"].items() if "completed" in how["condition"]}
        assert done == {f"{service}-migrate", "kafka-topics", "kafka-passwords"}
        assert CONTAINERS[f"{service}-migrate"]["command"] == [declared.MIGRATE]
        assert CONTAINERS[f"{service}-migrate"]["image"] == CONTAINERS[service]["image"]
        assert CONTAINERS[f"{service}-migrate"]["environment"] == CONTAINERS[service]["environment"]
    for container in CONTAINERS.values():
        assert set(container.get("depends_on", ())) <= set(CONTAINERS)


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_is_closed_and_bounded(name: str) -> None:
    container = CONTAINERS[name]
    assert container["read_only"] is True
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert container["logging"]["options"]["max-size"]
    assert set(container["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert not container.get("privileged")
    assert set(container.get("cap_add", ())) <= {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}
    for port in container.get("ports", ()):
        assert port.startswith("127.0.0.1:")


@pytest.mark.parametrize("name", sorted(set(CONTAINERS) - JOBS - DISTROLESS))
def test_a_container_is_asked_for_its_health(name: str) -> None:
    target = CONTAINERS[name].get("build", {}).get("target")
    own = dockerfile.stages()[target] if target else None
    asked = own and (own if own.all("HEALTHCHECK") else dockerfile.stages()[own.base]).health_command
    assert CONTAINERS[name].get("healthcheck") or asked


def test_brokers_and_databases_are_reached_from_inside_only() -> None:
    assert DOCUMENT["networks"]["backend"]["internal"] is True
    for name in ("kafka", "postgres"):
        assert CONTAINERS[name]["networks"] == ["backend"]
        assert "ports" not in CONTAINERS[name]


def test_whatever_is_mounted_exists(secrets: Path) -> None:
    places = [v["source"] for c in CONTAINERS.values() for v in c.get("volumes", ()) if v["type"] == "bind"]
    places += [secret["file"] for secret in DOCUMENT["secrets"].values()]
    for place in places:
        made = str(place).removeprefix("./secrets/")
        assert (secrets / made if made != place else DEPLOY / place).exists(), place
    named = {v["source"] for c in CONTAINERS.values() for v in c.get("volumes", ()) if v["type"] == "volume"}
    assert named == set(DOCUMENT["volumes"])
    assert {name for c in CONTAINERS.values() for name in c.get("secrets", ())} == set(DOCUMENT["secrets"])


def test_images_of_ours_are_targets_of_the_dockerfile() -> None:
    for container in OURS.values():
        build = container["build"]
        assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == dockerfile.FILE
        assert build["target"] in dockerfile.stages()
        arguments = {argument for argument in build["args"] if argument in dockerfile.FILE.read_text()}
        assert arguments == set(build["args"])


def test_whatever_has_to_be_given_is_in_the_example_and_nothing_else_is() -> None:
    example = (DEPLOY / ".env.example").read_text()
    needed = {name for name, default in compose.variables().items() if default is None}
    assert needed <= set(compose.env_file(".env.example"))
    named = {line.lstrip("# ").partition("=")[0] for line in example.splitlines() if "=" in line}
    assert named - {"COMPOSE_PROFILES"} <= set(compose.variables())
    assert set(compose.env_file("demo.env")) <= set(compose.variables())


def test_the_schema_accepts_it_and_refuses_a_misspelt_key(tmp_path: Path) -> None:
    def check(file: Path) -> int:
        checker = Path(sys.executable).with_name("check-jsonschema")
        argv = [checker, "--builtin-schema", "vendor.compose-spec", file]
        return subprocess.run(argv, capture_output=True, check=False).returncode

    assert check(compose.FILE) == 0
    broken = tmp_path / "compose.yaml"
    broken.write_text(compose.FILE.read_text().replace("depends_on:", "depend_on:"))
    assert check(broken) == 1


def test_prometheus_scrapes_every_service_where_it_listens() -> None:
    [job] = yaml.safe_load((DEPLOY / "observability" / "prometheus.yaml").read_text())["scrape_configs"]
    ports = {name: dockerfile.stages()[name].environment[code.http_port] for name, code in SERVICES.items()}
    targets = {entry["labels"]["service"]: entry["targets"] for entry in job["static_configs"]}
    assert targets == {name: [f"{name}:{port}"] for name, port in ports.items()}
    assert job["metrics_path"] == declared.metrics_path()


def test_the_simulators_tenants_are_those_of_the_demo() -> None:
    [seed] = [v for v in CONTAINERS["simulator"]["volumes"] if v["target"] == "/etc/ucmesh/tenants.yaml"]
    assert (DEPLOY / seed["source"]).resolve() == ROOT / "examples" / "tenants.yaml"
