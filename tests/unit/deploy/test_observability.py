"""Alerts, dashboard and collector: metric names are those of the code, and Prometheus' own checker agrees."""

import json
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from support import compose, declared
from support.compose import DEPLOY

FOLDER = DEPLOY / "observability"
ALERTS: list[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana" / "dashboards" / "ucmesh.json").read_text())
EXPRESSIONS = [rule["expr"] for rule in ALERTS] + [
    target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]
]
OUTSIDE = {"service", "job", "instance", "le"}
"""Labels that come from the scrape or the histogram, not from the code."""
GIVEN = {name: "x" for name, default in compose.variables().items() if default is None}
PROMTOOL = shutil.which("promtool")


def series() -> dict[str, set[str]]:
    """Every time series of the code with its labels."""
    found: dict[str, set[str]] = {}
    for service in declared.services().values():
        for name, labels in service.metrics.items():
            found.setdefault(name, set()).update(labels)
    return found


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_metrics_and_labels_exist_in_the_code(expression: str) -> None:
    known = series()
    named = set(re.findall(r"\bucmesh_[a-z_]+", expression))
    assert named <= set(known)
    assert named or expression.startswith("up{")
    labels = {label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")}
    labels |= set(re.findall(r"[{,]\s*(\w+)\s*[=!]", expression))
    assert labels <= {label for name in named for label in known[name]} | OUTSIDE


def test_every_alert_says_how_bad_it_is_and_where_to_read_on() -> None:
    for rule in ALERTS:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        file = rule["annotations"]["runbook"].partition("#")[0]
        assert "runbook" in (DEPLOY.parent / file).read_text().lower(), file


def test_the_dashboard_asks_the_data_source_that_is_provisioned() -> None:
    [provisioned] = (FOLDER / "grafana" / "provisioning" / "datasources").iterdir()
    uids = {source["uid"] for source in yaml.safe_load(provisioned.read_text())["datasources"]}
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} <= uids
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    [provider] = yaml.safe_load(
        (FOLDER / "grafana" / "provisioning" / "dashboards" / "ucmesh.yaml").read_text()
    )["providers"]  # fmt: skip
    mounts = {v["target"] for v in compose.rendered(GIVEN)["services"]["grafana"]["volumes"]}
    assert provider["options"]["path"] in mounts


def test_the_collector_joins_parts_that_are_there_on_the_port_services_are_told() -> None:
    config = yaml.safe_load((FOLDER / "collector.yaml").read_text())
    for pipeline in config["service"]["pipelines"].values():
        for kind, names in pipeline.items():
            assert set(names) <= set(config[kind])
    port = config["receivers"]["otlp"]["protocols"]["http"]["endpoint"].rpartition(":")[2]
    assert f"http://otel-collector:{port}" in (DEPLOY / ".env.example").read_text()
    assert config["exporters"]["otlp"]["endpoint"].partition(":")[0] in compose.rendered(GIVEN)["services"]


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool on PATH")
@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "rules", "alerts.yaml"],
        ["test", "rules", "alerts.test.yaml"],
        ["check", "config", "--syntax-only", "prometheus.yaml"],
    ],
    ids=" ".join,
)
def test_prometheus_own_checker_agrees(arguments: list[str]) -> None:
    done = subprocess.run([str(PROMTOOL), *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
