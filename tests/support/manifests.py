"""Manifests as `kubectl kustomize` builds them, and the questions every check asks about them.

Owns building and finding. Refuses verdicts: those are in manifest_policies, manifest_references and manifest_traffic.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from support import declared
from support.declared import Service

K8S = declared.ROOT / "k8s"
SECRETS_AT = "/run/secrets/ucmesh"
"""Where a service's own Secret is mounted: a folder of settings."""
SIMULATOR = "simulator"
TOPICS = "topics"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Workload:
    """Something that runs pods: a Deployment or a Job."""

    manifest: Manifest

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])

    @property
    def runs_on(self) -> bool:
        """False: it ends by itself."""
        return bool(self.manifest["kind"] == "Deployment")

    @property
    def spec(self) -> dict[str, Any]:
        """Of the pod."""
        return dict(self.manifest["spec"]["template"]["spec"])

    @property
    def labels(self) -> Mapping[str, str]:
        """Of the pod."""
        return dict(self.manifest["spec"]["template"]["metadata"]["labels"])

    @property
    def container(self) -> dict[str, Any]:
        [only] = self.spec["containers"]
        return dict(only)

    @property
    def containers(self) -> list[dict[str, Any]]:
        """Those that prepare, too."""
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]

    @property
    def service(self) -> Service | None:
        """What runs in it; None for the simulator and the topics."""
        module = self.container["command"][-1]
        return next((s for s in declared.services().values() if s.module == module), None)

    @property
    def roles(self) -> set[str]:
        return set(self.container["args"])

    def value(self, variable: str) -> str | None:
        """The literal value of an environment variable."""
        return next((e.get("value") for e in self.container.get("env", ()) if e["name"] == variable), None)


@dataclass(frozen=True, slots=True)
class Built:
    """What one overlay applies."""

    manifests: list[Manifest]

    def of_kind(self, *kinds: str) -> Iterator[Manifest]:
        return (manifest for manifest in self.manifests if manifest["kind"] in kinds)

    def named(self, kind: str, name: str) -> Manifest | None:
        return next((m for m in self.of_kind(kind) if m["metadata"]["name"] == name), None)

    def workloads(self) -> list[Workload]:
        return [Workload(manifest) for manifest in self.of_kind("Deployment", "Job")]

    def deployments(self) -> list[Workload]:
        return [workload for workload in self.workloads() if workload.runs_on]

    def services(self) -> list[tuple[Workload, Service]]:
        """Workloads that run one of our services, migrations too."""
        return [(workload, service) for workload in self.workloads() if (service := workload.service) is not None]

    def replicas(self, deployment: Workload) -> int:
        """The fewest there are."""
        scaled = self.named("ScaledObject", deployment.name)
        if scaled is not None:
            return int(scaled["spec"]["minReplicaCount"])
        return int(deployment.manifest["spec"].get("replicas", 1))


def build(folder: Path) -> Built:
    """Raises CalledProcessError with kustomize's complaint."""
    program = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or "kubectl"
    done = subprocess.run([program, "kustomize", str(folder)], capture_output=True, check=True, timeout=120)
    return Built(list(yaml.load_all(done.stdout, Loader=_LOADER)))


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector matches; an empty one matches everything."""
    wanted = selector.get("matchLabels", {})
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _holds(expression, labels) for expression in selector.get("matchExpressions", ())
    )


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    assert expression["operator"] == "In", "only In is used here"
    return labels.get(expression["key"]) in expression["values"]
