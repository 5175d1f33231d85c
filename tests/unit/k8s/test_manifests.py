"""Every overlay builds, and everything known about manifests holds for it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from support import declared, manifest_references, manifests
from support.manifest_checks import CHECKS, OVERLAYS, holds_for, overlay
from support.manifests import K8S, TOPICS


@pytest.mark.parametrize(("check", "name"), [(c, o) for c in CHECKS for o in OVERLAYS if holds_for(c, o)])
def test_manifests(check: str, name: str) -> None:
    assert CHECKS[check](overlay(name)) == []


def test_every_overlay_is_checked() -> None:
    assert {folder.name for folder in (K8S / "overlays").iterdir()} == set(OVERLAYS)


@pytest.mark.parametrize("component", sorted(folder.name for folder in (K8S / "components").iterdir()))
def test_a_component_is_used_and_says_what_it_is(component: str) -> None:
    """A component no overlay lists is never built and never checked."""
    folder = K8S / "components" / component
    assert (folder / "README.md").read_text().startswith("# ")
    users = [
        o
        for o in OVERLAYS
        if f"../../components/{component}\n" in (K8S / "overlays" / o / "kustomization.yaml").read_text()
    ]
    assert users


def test_a_release_is_one_number() -> None:
    """The images of the base are those of the services in this repository."""
    versions = {service.version for service in declared.services().values()}
    images = {workload.container["image"].rpartition(":")[2] for workload in overlay("dev").workloads()}
    assert images == versions


def test_rules_are_the_same_with_and_without_kubernetes() -> None:
    outside = yaml.safe_load((declared.ROOT / "deploy" / "observability" / "alerts.yaml").read_text())["groups"]
    [inside] = overlay("production").of_kind("PrometheusRule")
    assert inside["spec"]["groups"] == outside


def test_the_readme_names_every_secret() -> None:
    """Whoever makes the Secrets by hand reads there which keys they need."""
    text = (K8S / "README.md").read_text().partition("## Secrets")[2].partition("\n## ")[0]
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    for name in OVERLAYS:
        for secret, keys in manifest_references.secrets_needed(overlay(name)).items():
            [row] = [row for row in rows if f"`{secret}`" in row.split("|")[1]]
            assert {key for key in keys if f"`{key}`" not in row} == set(), secret


def test_what_make_secrets_makes_fits(tmp_path: Path) -> None:
    """A folder of it, made a Secret, has every file the service's pods read."""
    command = [sys.executable, str(declared.ROOT / "deploy" / "make_secrets.py"), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    needed = manifest_references.secrets_needed(overlay("production"))
    for name in (*declared.services(), TOPICS):
        made = {file.name for file in (tmp_path / "services" / name).iterdir()}
        secret = name if name in needed else f"ucmesh-{name}"
        assert needed[secret] - made == set()


def test_an_installation_is_an_overlay_of_its_own(tmp_path: Path) -> None:
    """Registry and addresses of ones own reach every pod, those of Jobs too."""
    shutil.copytree(K8S, tmp_path / "k8s")
    mine = {
        "resources": ["../k8s/overlays/production"],
        "images": [
            {"name": "ucmesh/orchestrator", "newName": "registry.example.org/o", "digest": f"sha256:{'a' * 64}"}
        ],
        "configMapGenerator": [
            {"name": "mesh", "behavior": "merge", "literals": ["OIDC_ISSUER=https://mine.example.org"]}
        ],
    }
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "kustomization.yaml").write_text(yaml.safe_dump(mine))
    built = manifests.build(tmp_path / "mine")
    images = {w.container["image"] for w, service in built.services() if service.name == "orchestrator"}
    assert images == {f"registry.example.org/o@sha256:{'a' * 64}"}
    [mesh] = [m["data"] for m in built.of_kind("ConfigMap")]
    assert mesh["OIDC_ISSUER"] == "https://mine.example.org"
    assert manifest_references.check_references(built) == []
