"""What deployments are compared with is read from the code rightly: a wrong reading would let wrong manifests pass."""

from pathlib import Path

import yaml

from mesh_runtime.settings import ServiceSettings
from support import declared

ROOT = Path(__file__).resolve().parents[3]


def test_every_service_declares_itself() -> None:
    assert set(declared.services()) == {"orchestrator", "graph-adapter", "pwsh-gateway", "cert-manager"}
    assert {service.module for service in declared.services().values()} == {
        name.replace("-", "_") for name in declared.services()
    }


def test_settings_are_those_the_service_reads() -> None:
    adapter = declared.services()["graph-adapter"]
    assert adapter.http_port == "GRAPH_ADAPTER_HTTP_PORT"
    assert adapter.secrets_dir_variable == "GRAPH_ADAPTER_SECRETS_DIR"
    url, issuer = adapter.settings["GRAPH_ADAPTER_DATABASE_URL"], adapter.settings["GRAPH_ADAPTER_OIDC_ISSUER"]
    assert (url.is_required, url.is_secret, url.is_path) == (True, True, False)
    assert (issuer.is_required, issuer.is_secret) == (True, False)
    kek, lease = adapter.settings["GRAPH_ADAPTER_KEK_FILE"], adapter.settings["GRAPH_ADAPTER_LEASE_SECONDS"]
    assert (kek.is_required, kek.is_path) == (True, True)
    assert (lease.is_required, lease.default) == (False, 60)
    optional = adapter.settings["GRAPH_ADAPTER_TEMPLATES_DIR"]
    assert (optional.is_required, optional.is_path, optional.default) == (False, True, None)


def test_every_service_has_the_settings_all_share() -> None:
    for service in declared.services().values():
        assert {setting.field for setting in service.settings.values()} >= set(ServiceSettings.model_fields)
        secret = {setting.field for setting in service.settings.values() if setting.is_secret}
        assert secret >= {"database_url", "kafka_sasl_password"}


def test_doors_are_those_of_the_app() -> None:
    assert declared.health_paths() == {"/health/live", "/health/ready", "/health/startup"}
    assert declared.metrics_path() == "/metrics"


def test_topics_are_those_of_the_contracts() -> None:
    topics = yaml.safe_load((ROOT / "contracts" / "messages.yaml").read_text())["topics"]
    services = declared.services()
    assert {name for name in declared.all_topics() if not name.endswith(".dlq")} == {t["topic"] for t in topics}
    for topic in topics:
        readers = {name for name, service in services.items() if topic["topic"] in service.consumes}
        assert readers == set(topic["consumers"]) & set(services)


def test_who_writes_what() -> None:
    written = {name: service.topics_written() for name, service in declared.services().items()}
    assert written["orchestrator"] >= {"ucmesh.graph.commands.v1", "ucmesh.plans.v1", "ucmesh.certs.commands.v1"}
    assert written["cert-manager"] >= {"ucmesh.certificates.v1", "ucmesh.pwsh.commands.v1"}
    replies = {"ucmesh.orchestrator.replies.v1", "ucmesh.cert-manager.replies.v1"}
    assert written["graph-adapter"] >= replies
    assert written["pwsh-gateway"] >= {*replies, "ucmesh.sessions.v1"}
    assert not written["orchestrator"] & replies
    assert "ucmesh.graph.commands.v1.graph-adapter.dlq" in written["graph-adapter"]


def test_metrics_are_named_as_prometheus_shows_them() -> None:
    gateway = declared.services()["pwsh-gateway"]
    assert gateway.metrics["ucmesh_pwsh_queue_age_seconds"] == ()
    assert gateway.metrics["ucmesh_consumer_lag"] == ("consumer", "topic", "partition")
    assert gateway.metrics["ucmesh_http_requests_total"] == ("method", "route", "status")
    assert "ucmesh_pwsh_execution_seconds_bucket" in gateway.metrics
    assert not any(name.startswith("ucmesh_graph") for name in gateway.metrics)
    graph = declared.services()["graph-adapter"].metrics
    assert graph["ucmesh_graph_operations_total"] == ("operation", "outcome")
