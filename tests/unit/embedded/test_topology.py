"""The picture holds together: every part named once, every topic with its dead letters, every secret by file."""

from pathlib import Path

import pytest

from ucmesh_embedded import topology
from ucmesh_embedded.places import Places
from ucmesh_embedded.topology import Options, Program, Wiring


@pytest.fixture
def wiring(tmp_path: Path) -> Wiring:
    ports = {name: 20_000 + number for number, name in enumerate(topology.LISTENERS)}
    return Wiring(Places.of(tmp_path), ports, Options())


def service(wiring: Wiring, name: str) -> Program:
    return next(program for program in topology.programs(wiring) if program.name == name)


def test_every_part_is_a_program_or_a_server(wiring: Wiring) -> None:
    names = [program.name for program in topology.programs(wiring)]
    assert sorted([*names, "postgres", "kafka"]) == sorted(topology.EVERYTHING)


def test_each_service_is_told_its_own_database_only(wiring: Wiring) -> None:
    for name in topology.SERVICES:
        prefix = name.replace("-", "_").upper()
        told = service(wiring, name).environment
        assert told[f"{prefix}_DATABASE_URL"].endswith("/" + topology.database(name))
        others = [topology.database(other) for other in topology.SERVICES if other != name]
        assert not [
            value for value in told.values() if value.startswith("postgresql") and value.endswith(tuple(others))
        ]


def test_each_service_has_keys_of_its_own(wiring: Wiring) -> None:
    keks = {service(wiring, n).environment[f"{n.replace('-', '_').upper()}_KEK_FILE"] for n in topology.SERVICES}
    assert len({Path(kek).read_bytes() for kek in keks}) == len(topology.SERVICES)


def test_replicas_share_everything_but_their_port(tmp_path: Path) -> None:
    options = Options(replicas=2, environment={"graph-adapter": {"GRAPH_ADAPTER_LEASE_SECONDS": "2"}})
    ports = {name: 20_000 + number for number, name in enumerate(options.listeners)}
    two = Wiring(Places.of(tmp_path), ports, options)
    first, second = service(two, "graph-adapter"), service(two, "graph-adapter-2")
    assert first.arguments == second.arguments
    differing = {name for name in first.environment if first.environment[name] != second.environment[name]}
    assert differing == {"GRAPH_ADAPTER_HTTP_PORT"}
    assert second.environment["GRAPH_ADAPTER_LEASE_SECONDS"] == "2"


def test_each_role_may_have_processes_of_its_own(tmp_path: Path) -> None:
    options = Options(roles={"worker": 2})
    ports = {name: 20_000 + number for number, name in enumerate(options.listeners)}
    found = {
        program.name: program.arguments for program in topology.programs(Wiring(Places.of(tmp_path), ports, options))
    }
    assert {name: list(arguments) for name, arguments in found.items() if name.startswith("graph-adapter")} == {
        "graph-adapter": ["graph_adapter", "api"],
        "graph-adapter-consumer": ["graph_adapter", "api", "consumer"],
        "graph-adapter-relay": ["graph_adapter", "api", "relay"],
        "graph-adapter-worker": ["graph_adapter", "api", "worker"],
        "graph-adapter-worker-2": ["graph_adapter", "api", "worker"],
    }


def test_services_find_a_server_behind_its_door(tmp_path: Path) -> None:
    ports = {name: 20_000 + number for number, name in enumerate(topology.LISTENERS)}
    wiring = Wiring(Places.of(tmp_path), ports, Options(doors={"postgres": 1, "simulator": 2}))
    told = service(wiring, "graph-adapter").environment
    assert ":1/" in told["GRAPH_ADAPTER_DATABASE_URL"]
    assert told["GRAPH_ADAPTER_LOGIN_URL"] == "https://127.0.0.1:2"


def test_without_pwsh_the_gateway_is_simulated(wiring: Wiring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    told = service(wiring, "pwsh-gateway").environment
    assert told["PWSH_GATEWAY_BACKEND"] == "simulated"
    assert "PWSH_GATEWAY_MODULE_PATH" not in told


def test_a_ratio_of_zero_turns_tracing_off(tmp_path: Path) -> None:
    ports = {name: 20_000 + number for number, name in enumerate(topology.LISTENERS)}
    quiet = Wiring(Places.of(tmp_path), ports, Options(trace_ratio=0))
    assert not [name for name in service(quiet, "orchestrator").environment if "OTLP" in name]


def test_a_persons_certificate_settings_do_not_reach_the_mesh(wiring: Wiring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/somewhere/ca.pem")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    inherited = topology.base_environment(wiring.places)
    assert "SSL_CERT_FILE" not in inherited
    assert "HTTPS_PROXY" not in inherited
