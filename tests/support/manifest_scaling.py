"""What scales and watches the mesh asks for groups, topics, metrics and doors that are there."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from support import declared
from support.declared import ROOT, Service
from support.manifest_references import env_of, port_names, serves_https
from support.manifest_topics import PARTITIONS
from support.manifests import Built, Workload, selects

TARGET_LABELS = {"pod", "namespace", "container", "instance", "job"}
"""Labels the monitoring adds to every series."""
KEDA_TRIGGERS = json.loads((ROOT / "tests" / "unit" / "k8s" / "schemas" / "keda-triggers.json").read_text())


def check_autoscaling(built: Built) -> list[str]:
    """Targets that are there, by groups, topics, variables and metrics the code has, within what makes sense."""
    found = []
    for scaled in built.of_kind("ScaledObject"):
        name, spec = scaled["metadata"]["name"], scaled["spec"]
        target = next((d for d in built.deployments() if d.name == spec["scaleTargetRef"]["name"]), None)
        if target is None or target.service is None:
            found.append(f"ScaledObject {name}: there is no such Deployment")
            continue
        if "replicas" in target.manifest["spec"]:
            found.append(f"{name}: the manifest would undo what the autoscaler decides")
        for trigger in spec["triggers"]:
            found += [f"ScaledObject {name}: {text}" for text in _wrong_trigger(built, target, target.service, trigger)]
        topics = [t["metadata"]["topic"] for t in spec["triggers"] if t["type"] == "kafka"]
        if topics and set(topics) != set(target.service.consumes):
            found.append(f"ScaledObject {name}: watches {topics}, the service reads {list(target.service.consumes)}")
        if topics and spec["maxReplicaCount"] > max(PARTITIONS[t] for t in topics if t in PARTITIONS):
            found.append(f"ScaledObject {name}: more replicas than partitions")
    return found


def check_monitoring(built: Built) -> list[str]:
    """Every pod that serves metrics is asked, at the door it has; every rule uses metrics and labels there are."""
    found = []
    for monitor in built.of_kind("PodMonitor"):
        serving = [w for w, _ in built.services() if w.runs_on]
        found += [
            f"{w.name}: nobody reads its metrics" for w in serving if not selects(monitor["spec"]["selector"], w.labels)
        ]
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            if endpoint["path"] != declared.metrics_path():
                found.append(f"PodMonitor: there are no metrics at {endpoint['path']}")
            for workload, service in ((w, s) for w, s in built.services() if w.runs_on):
                if endpoint["port"] not in port_names(workload):
                    found.append(f"PodMonitor: {workload.name} has no port {endpoint['port']}")
                if (endpoint.get("scheme") == "https") != serves_https(workload, service):
                    found.append(f"PodMonitor: asks {workload.name} by {endpoint.get('scheme', 'http')}")
    added = {
        relabeling["targetLabel"]
        for monitor in built.of_kind("PodMonitor")
        for endpoint in monitor["spec"]["podMetricsEndpoints"]
        for relabeling in endpoint.get("relabelings", ())
    }
    for rules in built.of_kind("PrometheusRule"):
        for group in rules["spec"]["groups"]:
            for rule in group["rules"]:
                found += [f"{rule['alert']}: {text}" for text in unknown_in_query(rule["expr"], added)]
    return found


def unknown_in_query(query: str, added: set[str] | None = None) -> list[str]:
    """Metrics and labels of a PromQL expression that no service has; `added` are labels that scraping adds."""
    known: dict[str, set[str]] = {"up": TARGET_LABELS | (added or set())}
    for service in declared.services().values():
        for name, labels in service.metrics.items():
            known.setdefault(name, set(known["up"])).update(labels)
    used = set(re.findall(r"\b(?:ucmesh_\w+|up\b)", re.sub(r"\"[^\"]*\"", "", query)))
    found = [f"no service has the metric {name}" for name in sorted(used - known.keys())]
    if not used:
        found.append("asks for none of our metrics")
    groups = re.findall(r"\b(?:by|without) \(([^)]*)\)", query)
    anywhere = known["up"].union(*(known.get(name, ()) for name in used))
    found += [f"no metric has the label {x}" for x in {y.strip() for g in groups for y in g.split(",")} - anywhere]
    for name, matchers in re.findall(r"\b(ucmesh_\w+|up)\{([^}]*)\}", query):
        wanted = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
        found += [f"{name} has no label {label}" for label in sorted(wanted - known.get(name, known["up"]))]
    return found


def _wrong_trigger(built: Built, target: Workload, service: Service, trigger: Mapping[str, Any]) -> list[str]:
    told, found = trigger["metadata"], []
    variables = {entry["name"] for entry in env_of(target)}
    found += [
        f"{told[key]} is no variable of it" for key in told if key.endswith("FromEnv") and told[key] not in variables
    ]
    if trigger["type"] == "kafka":
        if told["consumerGroup"] != (group := service.group_of(told["topic"])):
            found.append(f"the group of {told['topic']} is {group}, not {told['consumerGroup']}")
        if "consumer" not in target.roles:
            found.append("it reads no topic")
    if trigger["type"] == "prometheus":
        found += unknown_in_query(told["query"])
    reference = trigger.get("authenticationRef", {}).get("name")
    if reference is not None and built.named("TriggerAuthentication", reference) is None:
        found.append(f"there is no TriggerAuthentication {reference}")
    return found


def check_keda_triggers(built: Built) -> list[str]:
    """The schema of a ScaledObject lets any metadata pass; each scaler has its own."""
    found = []
    for scaled in built.of_kind("ScaledObject"):
        for trigger in scaled["spec"]["triggers"]:
            found += [f"{scaled['metadata']['name']}: {text}" for text in _unknown_to_keda(trigger)]
    return found


def _unknown_to_keda(trigger: Mapping[str, Any]) -> list[str]:
    known = KEDA_TRIGGERS.get(trigger["type"])
    if known is None:
        return [f"trigger {trigger['type']} is unknown"]
    given = {name.removesuffix("FromEnv"): name for name in trigger["metadata"]}
    found = []
    for name, written in given.items():
        parameter = known.get(name)
        if parameter is None or not parameter["env" if written.endswith("FromEnv") else "metadata"]:
            found.append(f"trigger {trigger['type']} does not know {written}")
        elif "allowed" in parameter and trigger["metadata"][written] not in parameter["allowed"]:
            found.append(f"trigger {trigger['type']}: {written} must be one of {parameter['allowed']}")
    missing = [name for name, parameter in known.items() if parameter["required"] and name not in given]
    return found + [f"trigger {trigger['type']} lacks {name}" for name in missing]
