"""Every name in a manifest is a name of the code, or of another manifest that is applied with it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from mesh_runtime.settings import SettingsError, load_settings
from support import declared
from support.declared import Service
from support.manifest_policies import LONG_RUNNING_PROBES
from support.manifests import SECRETS_AT, Built, Manifest, Workload, selects

CERTIFICATE_KEYS = {"tls.crt", "tls.key", "ca.crt"}
"""What cert-manager puts into the Secret of a certificate."""
NOT_SETTINGS = {"TMPDIR"}
"""Variables of the operating system that services follow."""


def check_command(built: Built) -> list[str]:
    """`python -m <module>` with roles the module has, or `migrate`."""
    return [
        f"{workload.name}: {service.module} has no role {sorted(workload.roles)}"
        for workload, service in built.services()
        if not (workload.roles <= set(service.roles) if workload.runs_on else workload.roles == {declared.MIGRATE})
    ]


def check_roles_run(built: Built) -> list[str]:
    """Every role of every service runs somewhere; only processes with the role `api` can be asked for their health."""
    found = []
    for name, service in declared.services().items():
        running = [w.roles for w, of in built.services() if of == service and w.runs_on]
        found += [
            f"{name}: nobody runs {role}" for role in service.roles if not any(role in roles for roles in running)
        ]
        found += [f"{name}: {sorted(roles)} has no doors for probes" for roles in running if "api" not in roles]
    return found


def check_variables(built: Built) -> list[str]:
    """A variable no settings class reads is a setting that silently does not hold."""
    found = []
    for workload, service in built.services():
        known = {*service.settings, service.secrets_dir_variable, *NOT_SETTINGS}
        found += [
            f"{workload.name}: nobody reads {entry['name']}" for entry in env_of(workload) if entry["name"] not in known
        ]
    return found


def check_settings_load(built: Built) -> list[str]:
    """The service's own settings class accepts the environment, with the files where they would be mounted."""
    found = []
    for workload, service in built.services():
        with (
            environment_with_files(built, workload) as environment,
            mock.patch.dict(os.environ, environment, clear=True),
        ):
            try:
                settings = load_settings(service.settings_class)
            except SettingsError as error:
                found.append(f"{workload.name}: {error}")
                continue
        if settings.http_host in ("127.0.0.1", "localhost", "::1"):
            found.append(f"{workload.name}: listens for itself only")
        ports = {port["containerPort"] for port in workload.container.get("ports", ())}
        if workload.runs_on and settings.http_port not in ports:
            found.append(f"{workload.name}: listens on {settings.http_port}, the container names {sorted(ports)}")
    return found


def check_jobs_have_the_environment_of_their_service(built: Built) -> list[str]:
    """A migration that reads other settings than the service may change another database."""
    found = []
    for job, service in built.services():
        if job.runs_on:
            continue
        shared = [_common(w) for w, of in built.services() if of == service and w.runs_on]
        if _common(job) not in shared:
            found.append(f"{job.name}: its environment is not that of {service.name}")
    return found


def check_references(built: Built) -> list[str]:
    """ConfigMaps with their keys, service accounts; Secrets where the overlay says where they come from."""
    found = []
    provided = secrets_provided(built)
    for workload in built.workloads():
        for name, key in _config_references(workload):
            plain = built.named("ConfigMap", name)
            if plain is None or key not in plain.get("data", {}):
                found.append(f"{workload.name}: there is no {key} in a ConfigMap {name}")
        account = workload.spec.get("serviceAccountName")
        if account is None or built.named("ServiceAccount", account) is None:
            found.append(f"{workload.name}: there is no ServiceAccount {account}")
    if provided:
        needed = secrets_needed(built)
        for name in needed.keys() | provided.keys():
            lacking = needed.get(name, set()) - provided.get(name, set())
            unused = provided.get(name, set()) - needed.get(name, set())
            found += [f"Secret {name}: nobody provides {key}" for key in sorted(lacking)]
            if built.named("ExternalSecret", name) is not None:
                found += [f"Secret {name}: nobody reads {key}" for key in sorted(unused)]
    return found


def check_selectors(built: Built) -> list[str]:
    """Deployments select their own pods and nobody else's; Services reach pods, at ports they have."""
    found = []
    deployments = built.deployments()
    for deployment in deployments:
        chosen = [d.name for d in deployments if selects(deployment.manifest["spec"]["selector"], d.labels)]
        if chosen != [deployment.name]:
            found.append(f"{deployment.name}: selects {chosen}")
    for service in built.of_kind("Service"):
        name, selector = service["metadata"]["name"], {"matchLabels": service["spec"]["selector"]}
        behind = [w for w in built.workloads() if selects(selector, w.labels)]
        if not behind or not all(w.runs_on for w in behind):
            found.append(f"Service {name}: reaches {[w.name for w in behind]}")
        found += [
            f"Service {name}: {w.name} has no port {port['targetPort']}"
            for w in behind
            for port in service["spec"]["ports"]
            if port["targetPort"] not in port_names(w)
        ]
    return found


def check_probe_doors(built: Built) -> list[str]:
    """Each probe asks the door that was made for it, at a port the container has."""
    found = []
    for workload in built.deployments():
        for probe, door in LONG_RUNNING_PROBES.items():
            asked = workload.container.get(probe, {})
            get = asked.get("httpGet") or asked.get("tcpSocket") or {}
            if get.get("port") not in port_names(workload):
                found.append(f"{workload.name}: {probe} asks port {get.get('port')}")
            if workload.service is not None:
                path = get.get("path")
                if path not in declared.health_paths() or path.rpartition("/")[2] != door:
                    found.append(f"{workload.name}: {probe} asks {path}")
                if get.get("scheme", "HTTP") != ("HTTPS" if serves_https(workload, workload.service) else "HTTP"):
                    found.append(f"{workload.name}: {probe} asks by {get.get('scheme', 'HTTP')}")
    return found


def serves_https(workload: Workload, service: Service) -> bool:
    return workload.value(service.variable("http_cert_file")) is not None


def secrets_needed(built: Built) -> dict[str, set[str]]:
    """Secret -> keys somebody reads: as a file, as a variable, as a parameter of KEDA or of the monitoring."""
    needed: dict[str, set[str]] = {}
    for workload in built.workloads():
        for volume in workload.spec.get("volumes", ()):
            if "secret" in volume:
                keys = _files_read(workload, volume)
                needed.setdefault(volume["secret"]["secretName"], set()).update(keys)
        for entry in env_of(workload):
            reference = entry.get("valueFrom", {}).get("secretKeyRef")
            if reference:
                needed.setdefault(reference["name"], set()).add(reference["key"])
    for authentication in built.of_kind("TriggerAuthentication"):
        for reference in authentication["spec"]["secretTargetRef"]:
            needed.setdefault(reference["name"], set()).add(reference["key"])
    for monitor in built.of_kind("PodMonitor"):
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            authority = endpoint.get("tlsConfig", {}).get("ca", {}).get("secret")
            client = (endpoint["oauth2"]["clientId"]["secret"], endpoint["oauth2"]["clientSecret"])
            for reference in (*client, *([authority] if authority else ())):
                needed.setdefault(reference["name"], set()).add(reference["key"])
    return needed


def secrets_provided(built: Built) -> dict[str, set[str]]:
    """Secret -> keys the store fills in."""
    provided = {
        external["spec"]["target"]["name"]: {entry["secretKey"] for entry in external["spec"]["data"]}
        for external in built.of_kind("ExternalSecret")
    }
    return provided | {c["spec"]["secretName"]: CERTIFICATE_KEYS for c in built.of_kind("Certificate")}


def _files_read(workload: Workload, volume: Mapping[str, Any]) -> set[str]:
    mounts = [m["mountPath"] for m in workload.container["volumeMounts"] if m["name"] == volume["name"]]
    [place] = mounts
    items = volume["secret"].get("items")
    texts = [str(e.get("value", "")) for e in env_of(workload)] + [
        a.partition("=")[2] for a in workload.container["args"]
    ]
    names = {text.removeprefix(f"{place}/") for text in texts if text.startswith(f"{place}/")}
    if items is not None:
        return {item["key"] for item in items}
    return names | (_setting_files(workload) if place == SECRETS_AT else set())


def _setting_files(workload: Workload) -> set[str]:
    """Names of the files that stand for a variable: what is secret and has to be set."""
    if workload.service is None:
        return {"topics_kafka_sasl_password"} if workload.value("TOPICS_KAFKA_SASL_USERNAME") else set()
    service = workload.service
    secret = {service.variable("database_url")}
    if workload.value(service.variable("kafka_sasl_mechanism")):
        secret.add(service.variable("kafka_sasl_password"))
    return {variable.lower() for variable in secret}


@contextlib.contextmanager
def environment_with_files(built: Built, workload: Workload) -> Iterator[dict[str, str]]:
    """The variables of a workload, and the files of its Secrets, somewhere else."""
    with tempfile.TemporaryDirectory() as folder:
        for volume in workload.spec.get("volumes", ()):
            if "secret" in volume:
                [place] = [m["mountPath"] for m in workload.container["volumeMounts"] if m["name"] == volume["name"]]
                root = Path(folder) / place.lstrip("/")
                root.mkdir(parents=True, exist_ok=True)
                for key in _files_read(workload, volume):
                    is_url = key.endswith("_database_url")
                    (root / key).write_text("postgresql://user:word@db.example.org/name" if is_url else "text")
        yield {name: _inside(value, folder) for name, value in _resolved(built, workload)}


def _inside(value: str, folder: str) -> str:
    return f"{folder}{value}" if value.startswith("/run/secrets/") else value


def _resolved(built: Built, workload: Workload) -> Iterator[tuple[str, str]]:
    for entry in env_of(workload):
        reference = entry.get("valueFrom", {}).get("configMapKeyRef")
        if reference is None:
            yield entry["name"], str(entry.get("value", "text"))
        else:
            plain: Manifest = built.named("ConfigMap", reference["name"]) or {}
            yield entry["name"], plain.get("data", {}).get(reference["key"], "")


def _common(workload: Workload) -> Any:
    """What a service's pods share: image, command, environment without what differs by role."""
    container = workload.container
    own = [e for e in container["env"] if not e["name"].endswith("_DRAIN_SECONDS") and e["name"] != "TMPDIR"]
    return container["image"], container["command"], sorted(own, key=lambda entry: str(entry["name"]))


def _config_references(workload: Workload) -> Iterator[tuple[str, str]]:
    for entry in env_of(workload):
        reference = entry.get("valueFrom", {}).get("configMapKeyRef")
        if reference:
            yield reference["name"], reference["key"]


def env_of(workload: Workload) -> list[dict[str, Any]]:
    return list(workload.container.get("env", ()))


def port_names(workload: Workload) -> set[str]:
    return {port["name"] for port in workload.container.get("ports", ())}
