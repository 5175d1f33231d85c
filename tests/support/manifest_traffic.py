"""Who may speak to whom: network policies allow what each process needs, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from graph_adapter.domain.clouds import CLOUDS
from support.declared import Service
from support.manifests import TOPICS, Built, Workload, selects

DOORS = {
    "postgres": "to-postgres",
    "kafka": "to-kafka",
    "issuer": "to-issuer",
    "collector": "to-collector",
    "microsoft": "to-microsoft",
    "names": "to-names",
}
"""What a process may need -> the policy that opens the way."""
SPEAKS_TO_MICROSOFT = {"graph_url", "backend"}
"""Fields that only the settings of a service have that calls Microsoft."""
GOVERNMENT = "gcc-high"
ANYWHERE = ("0.0.0.0/0", "::/0")


def needs(workload: Workload, service: Service | None) -> set[str]:
    """What a process speaks to, by the roles it runs and the settings its service has."""
    if service is None:
        return {"kafka", "names"} if workload.name == TOPICS else set()
    needed = {"postgres", "names"}
    if not workload.runs_on:
        return needed
    needed |= {"issuer"} if "api" in workload.roles else set()
    needed |= {"kafka"} if workload.roles & {"consumer", "relay"} else set()
    variables = {entry["name"] for entry in workload.container["env"]}
    needed |= {"collector"} if service.variable("otlp_endpoint") in variables else set()
    fields = {setting.field for setting in service.settings.values()}
    return needed | ({"microsoft"} if "worker" in workload.roles and fields & SPEAKS_TO_MICROSOFT else set())


def check_default_deny(built: Built) -> list[str]:
    """Whoever has no policy of its own speaks to nobody."""
    for policy in built.of_kind("NetworkPolicy"):
        spec = policy["spec"]
        if spec["podSelector"] == {} and sorted(spec["policyTypes"]) == ["Egress", "Ingress"]:
            return [] if not spec.get("egress") and not spec.get("ingress") else ["the default allows something"]
    return ["nothing is denied by default"]


def check_egress(built: Built) -> list[str]:
    """Each way out that a process needs is open, and no other."""
    found = []
    for workload in built.workloads():
        needed = {DOORS[need] for need in needs(workload, workload.service)}
        open_ways = {name for name, selector in _ways_out(built) if selects(selector, workload.labels)}
        found += [f"{workload.name}: {way} is not open" for way in sorted(needed - open_ways)]
        found += [f"{workload.name}: {way} is open for nothing" for way in sorted(open_ways - needed)]
    return found


def check_ingress(built: Built) -> list[str]:
    """Pods behind a Service are reached from the gateway, pods with metrics from the monitoring, at ports they have."""
    found = []
    behind = [{"matchLabels": service["spec"]["selector"]} for service in built.of_kind("Service")]
    monitored = [monitor["spec"]["selector"] for monitor in built.of_kind("PodMonitor")]
    for workload in built.deployments():
        sources = {_source(rule) for rule in _rules(built, workload, "ingress")}
        wanted = {"ingress"} if any(selects(selector, workload.labels) for selector in behind) else set()
        wanted |= {"monitoring"} if any(selects(selector, workload.labels) for selector in monitored) else set()
        if sources != wanted:
            found.append(f"{workload.name}: open to {sorted(sources)}, wanted {sorted(wanted)}")
        names = {port["name"] for port in workload.container["ports"]}
        for rule in _rules(built, workload, "ingress"):
            found += [f"{workload.name}: no port {p['port']}" for p in rule.get("ports", ()) if p["port"] not in names]
    return found


def check_policies_select(built: Built) -> list[str]:
    """A policy that selects no pod is a mistake in its labels; one without ports opens all of them."""
    found = []
    for policy in built.of_kind("NetworkPolicy"):
        name, spec = policy["metadata"]["name"], policy["spec"]
        if not any(selects(spec["podSelector"], w.labels) for w in built.workloads()):
            found.append(f"NetworkPolicy {name} selects nobody")
        for rule in (*spec.get("egress", ()), *spec.get("ingress", ())):
            if not rule.get("ports") or not (rule.get("to") or rule.get("from")):
                found.append(f"NetworkPolicy {name} opens more than it says")
    return found


def check_addresses(built: Built) -> list[str]:
    """The ports of the settings are the ports that are open."""
    found = []
    [mesh] = [m for m in built.of_kind("ConfigMap") if m["metadata"]["name"].startswith("mesh-")]
    for key, way in (("KAFKA_BOOTSTRAP", "to-kafka"), ("OTLP_ENDPOINT", "to-collector")):
        policy = built.named("NetworkPolicy", way)
        ports = {p["port"] for rule in policy["spec"]["egress"] for p in rule["ports"]} if policy else set()
        port = int(mesh["data"][key].rpartition(":")[2])
        if port not in ports:
            found.append(f"{key} is at port {port}, {way} opens {sorted(ports)}")
    return found


def check_government_egress(built: Built) -> list[str]:
    """By name, to the hosts of that cloud in the code; no way to any address."""
    found = []
    names = {
        name
        for policy in built.of_kind("CiliumNetworkPolicy")
        for rule in policy["spec"]["egress"]
        for target in rule.get("toFQDNs", ())
        for name in target.values()
    }
    cloud = CLOUDS[GOVERNMENT]
    for url in (cloud.login_url, cloud.graph_url):
        host = url.split("/")[2]
        if host not in names:
            found.append(f"{host} of the cloud {GOVERNMENT} is not reached")
    found += [f"{name} is in another cloud" for name in sorted(names) if not name.endswith(".us")]
    for policy in built.of_kind("NetworkPolicy"):
        for rule in policy["spec"].get("egress", ()):
            if any(peer.get("ipBlock", {}).get("cidr") in ANYWHERE for peer in rule.get("to", ())):
                found.append(f"NetworkPolicy {policy['metadata']['name']} leads anywhere")
    return found


def _ways_out(built: Built) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for policy in built.of_kind("NetworkPolicy"):
        if policy["spec"].get("egress"):
            yield policy["metadata"]["name"], policy["spec"]["podSelector"]
    for policy in built.of_kind("CiliumNetworkPolicy"):
        yield policy["metadata"]["name"], policy["spec"]["endpointSelector"]


def _rules(built: Built, workload: Workload, direction: str) -> Iterator[Mapping[str, Any]]:
    for policy in built.of_kind("NetworkPolicy"):
        if selects(policy["spec"]["podSelector"], workload.labels):
            yield from policy["spec"].get(direction, ())


def _source(rule: Mapping[str, Any]) -> str:
    [peer] = rule["from"]
    return str(peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"])
