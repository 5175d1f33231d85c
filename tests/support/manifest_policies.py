"""What every pod of ours must and must not do, whatever it runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mesh_runtime import roles
from pwsh_gateway.domain.config import GatewayConfig
from support import declared
from support.declared import Service
from support.manifests import SIMULATOR, Built, Workload, selects

TELEMETRY_SECONDS = 2
"""What roles.main gives telemetry.shutdown at the end."""
MARGIN_SECONDS = 5
ENDPOINTS_SECONDS = 5
"""How long a pod that ends is still asked by some."""
START_SECONDS = 30
"""From the database's answer to the first probe that passes, on a busy node."""
GATEWAY_ITSELF_MB = 512
CREDENTIALS_IN_URL = re.compile(r"://[^/\s:@]+:[^/\s@]+@")
UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "m": 0.001, "": 1}
LONG_RUNNING_PROBES = {"startupProbe": "startup", "readinessProbe": "ready", "livenessProbe": "live"}


def check_restricted(built: Built) -> list[str]:
    """The Pod Security Standard `restricted`, a read-only root, and no numeric root."""
    found = []
    for workload in built.workloads():
        pod = workload.spec.get("securityContext", {})
        wrong = {
            "runAsNonRoot": pod.get("runAsNonRoot") is not True or not pod.get("runAsUser"),
            "seccompProfile": pod.get("seccompProfile") != {"type": "RuntimeDefault"},
            "host namespaces": any(workload.spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")),
            "hostPath": any("hostPath" in volume for volume in workload.spec.get("volumes", ())),
        }
        for container in workload.containers:
            own = container.get("securityContext", {})
            wrong |= {
                f"{container['name']}.allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is not False,
                f"{container['name']}.privileged": own.get("privileged", False),
                f"{container['name']}.readOnlyRootFilesystem": own.get("readOnlyRootFilesystem") is not True,
                f"{container['name']}.capabilities": own.get("capabilities") != {"drop": ["ALL"]},
                f"{container['name']}.runAsUser": "runAsUser" in own or "runAsNonRoot" in own,
                f"{container['name']}.hostPort": any("hostPort" in port for port in container.get("ports", ())),
            }
        found += [f"{workload.name}: {name}" for name, is_wrong in wrong.items() if is_wrong]
    return found


def check_no_token(built: Built) -> list[str]:
    """Nothing of ours speaks to the Kubernetes API; nor do links of Services get into our variables."""
    found = [
        f"{account['metadata']['name']}: its pods would get a token"
        for account in built.of_kind("ServiceAccount")
        if account.get("automountServiceAccountToken") is not False
    ]
    for workload in built.workloads():
        found += [
            f"{workload.name}: {key} is not false"
            for key in ("automountServiceAccountToken", "enableServiceLinks")
            if workload.spec.get(key) is not False
        ]
    return found


def check_resources(built: Built) -> list[str]:
    """Requests and limits of both kinds, and no request above its limit."""
    found = []
    for workload in built.workloads():
        for container in workload.containers:
            given = container.get("resources", {})
            for kind in ("cpu", "memory"):
                request, limit = (_amount(given.get(part, {}).get(kind)) for part in ("requests", "limits"))
                if request is None or limit is None or request > limit:
                    found.append(f"{workload.name} {container['name']}: {kind} request {request}, limit {limit}")
    return found


def check_volumes(built: Built) -> list[str]:
    """What a pod writes has a bound, and every mount has its volume."""
    found = []
    for workload in built.workloads():
        volumes = {volume["name"]: volume for volume in workload.spec.get("volumes", ())}
        found += [
            f"{workload.name}: volume {name} has no sizeLimit"
            for name, volume in volumes.items()
            if "emptyDir" in volume and not (volume["emptyDir"] or {}).get("sizeLimit")
        ]
        mounted = {m["name"] for container in workload.containers for m in container.get("volumeMounts", ())}
        if mounted != set(volumes):
            found.append(f"{workload.name}: volumes {sorted(mounted ^ set(volumes))} are mounted or declared only")
    return found


def check_probes(built: Built) -> list[str]:
    """All three on everything that keeps running; a start may wait for its database as long as its settings say."""
    found = []
    for workload in built.deployments():
        container = workload.container
        found += [f"{workload.name}: no {probe}" for probe in LONG_RUNNING_PROBES if probe not in container]
        start, service = container.get("startupProbe", {}), workload.service
        seconds = start.get("periodSeconds", 10) * start.get("failureThreshold", 3)
        if service is not None:
            needed = _seconds(workload, service, "startup_seconds") + START_SECONDS
            if seconds < needed:
                found.append(f"{workload.name}: killed after {seconds} s, its start may take {needed:g}")
    return found


def check_images(built: Built) -> list[str]:
    """A tag that names a release, or a digest."""
    found = []
    for workload in built.workloads():
        for image in (container["image"] for container in workload.containers):
            tag = image.rpartition("/")[2].partition(":")[2]
            if "@sha256:" not in image and tag in ("", "latest"):
                found.append(f"{workload.name}: image {image} may be anything")
    return found


def check_no_secrets(built: Built) -> list[str]:
    """Secrets come by reference: none is written here, in no kind of place."""
    found = [f"Secret {secret['metadata']['name']} is written here" for secret in built.of_kind("Secret")]
    secret_variables = {
        s.variable for service in declared.services().values() for s in service.settings.values() if s.is_secret
    }
    for workload in built.workloads():
        for entry in workload.container.get("env", ()):
            is_secret = entry["name"] in secret_variables or re.search(r"PASSWORD|SECRET$|TOKEN", entry["name"])
            literal = entry.get("value")
            if literal is not None and (is_secret or CREDENTIALS_IN_URL.search(literal)):
                found.append(f"{workload.name}: {entry['name']} has its value here")
            if is_secret and "configMapKeyRef" in entry.get("valueFrom", {}):
                found.append(f"{workload.name}: {entry['name']} comes from a ConfigMap")
    for plain in built.of_kind("ConfigMap"):
        for key, text in plain.get("data", {}).items():
            if CREDENTIALS_IN_URL.search(text) or "PRIVATE KEY" in text or re.search(r"PASSWORD|SECRET|TOKEN", key):
                found.append(f"ConfigMap {plain['metadata']['name']}: {key} holds a secret")
    return found


def check_rollout(built: Built) -> list[str]:
    """A new pod is there before an old one goes, except where there may be only one."""
    return [
        f"{deployment.name}: {deployment.manifest['spec'].get('strategy')}"
        for deployment in built.deployments()
        if deployment.name != SIMULATOR
        and deployment.manifest["spec"].get("strategy", {}).get("rollingUpdate", {}).get("maxUnavailable") != 0
    ]


def check_shutdown(built: Built) -> list[str]:
    """A pod gets the time its service takes to end: drain (doors included), what is cancelled, the last spans."""
    found = []
    for workload, service in built.services():
        if not workload.runs_on:
            continue
        if _seconds(workload, service, "http_linger_seconds") < ENDPOINTS_SECONDS:
            found.append(f"{workload.name}: requests would be refused while its address is still known")
        drain = _seconds(workload, service, "drain_seconds")
        needed = drain + roles.CANCEL_SECONDS + TELEMETRY_SECONDS + MARGIN_SECONDS
        given = workload.spec.get("terminationGracePeriodSeconds", 30)
        if given < needed:
            found.append(f"{workload.name}: killed after {given} s, its end may take {needed:g}")
    return found


def check_jobs(built: Built) -> list[str]:
    """Ends in bounded time, is tried a bounded number of times, and makes room for the next release's."""
    bounds = ("activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")
    return [
        f"{job['metadata']['name']}: no {bound}"
        for job in built.of_kind("Job")
        for bound in bounds
        if bound not in job["spec"]
    ]


def check_release_order(built: Built) -> list[str]:
    """Where migrations are Jobs, only the Deployments come after them."""
    if not any(not workload.runs_on for workload, _ in built.services()):
        return []
    found = []
    for manifest in built.manifests:
        place, metadata = f"{manifest['kind']} {manifest['metadata']['name']}", manifest["metadata"]
        waves = (
            metadata.get("annotations", {}).get("argocd.argoproj.io/sync-wave"),
            metadata.get("labels", {}).get("ucmesh.io/wave"),
        )
        if waves != (("1", "1") if manifest["kind"] == "Deployment" else (None, None)):
            found.append(f"{place}: applied in the wrong step")
    return found


def check_spread(built: Built) -> list[str]:
    """Over zones and over nodes, each Deployment by itself."""
    found = []
    for deployment in built.deployments():
        if deployment.name == SIMULATOR:
            continue
        constraints = {c["topologyKey"]: c for c in deployment.spec.get("topologySpreadConstraints", ())}
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname"):
            constraint = constraints.get(key)
            own = {"app.kubernetes.io/name", "app.kubernetes.io/component", "pod-template-hash"}
            if constraint is None:
                found.append(f"{deployment.name}: not spread over {key}")
            elif not selects(constraint["labelSelector"], deployment.labels) or own - set(constraint["matchLabelKeys"]):
                found.append(f"{deployment.name}: what is spread over {key} is not itself")
    return found


def check_sessions_fit(built: Built) -> list[str]:
    """The memory of the gateway's sessions is bounded by a setting; the container has to allow that and the service."""
    found = []
    needed = (GatewayConfig().container_memory_mb_max + GATEWAY_ITSELF_MB) * 2**20
    for workload, service in built.services():
        if (
            service.name == "pwsh-gateway"
            and "worker" in workload.roles
            and not workload.value("PWSH_GATEWAY_SIMULATOR_URL")
        ):
            limit = _amount(workload.container["resources"]["limits"]["memory"]) or 0
            if limit < needed:
                found.append(f"{workload.name}: {limit / 2**20:g} MiB, its sessions may take {needed / 2**20:g}")
    return found


def check_namespace(built: Built) -> list[str]:
    """Everything in one namespace, and that one enforces `restricted`."""
    [namespace] = built.of_kind("Namespace")
    name = namespace["metadata"]["name"]
    found = [
        f"{m['kind']} {m['metadata']['name']}: not in {name}"
        for m in built.manifests
        if m["kind"] != "Namespace" and m["metadata"].get("namespace") != name
    ]
    if namespace["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted":
        found.append(f"namespace {name} does not enforce `restricted`")
    return found


def check_availability(built: Built) -> list[str]:
    """For production: two of each at least, over zones, and no more than one taken away at a time."""
    found = []
    budgets = list(built.of_kind("PodDisruptionBudget"))
    for deployment in built.deployments():
        if built.replicas(deployment) < 2:
            found.append(f"{deployment.name}: fewer than two replicas")
        covering = [b for b in budgets if selects(b["spec"]["selector"], deployment.labels)]
        if len(covering) != 1 or covering[0]["spec"].get("maxUnavailable") != 1:
            found.append(f"{deployment.name}: {len(covering)} disruption budgets, one that allows one is wanted")
        zones = [c for c in _spread(deployment) if c["topologyKey"] == "topology.kubernetes.io/zone"]
        if [c["whenUnsatisfiable"] for c in zones] != ["DoNotSchedule"]:
            found.append(f"{deployment.name}: all of it may be in one zone")
    pods = [deployment.labels for deployment in built.deployments()]
    for budget in budgets:
        if sum(selects(budget["spec"]["selector"], labels) for labels in pods) != 1:
            found.append(f"PodDisruptionBudget {budget['metadata']['name']} does not belong to one Deployment")
    return found


def _spread(workload: Workload) -> Iterator[Mapping[str, Any]]:
    yield from workload.spec.get("topologySpreadConstraints", ())


def _seconds(workload: Workload, service: Service, field: str) -> float:
    """As the manifest says, else as the settings do."""
    return float(workload.value(service.variable(field)) or service.settings_class.model_fields[field].default)


def _amount(text: object) -> float | None:
    """Bytes or cores."""
    if text is None:
        return None
    matched = re.fullmatch(r"(\d+(?:\.\d+)?)(Ki|Mi|Gi|m)?", str(text))
    assert matched is not None, text
    return float(matched[1]) * UNITS[matched[2] or ""]
