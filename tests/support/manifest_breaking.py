"""Where to put a mistake into what an overlay applies."""

from typing import Any

from support.manifests import Built, Manifest

WORKER = "graph-adapter-worker"


def get(built: Built, kind: str, name: str) -> Manifest:
    found = built.named(kind, name)
    assert found is not None
    return found


def pod(built: Built, name: str = WORKER, kind: str = "Deployment") -> dict[str, Any]:
    return get(built, kind, name)["spec"]["template"]["spec"]  # type: ignore[no-any-return]


def container(built: Built, name: str = WORKER, kind: str = "Deployment") -> dict[str, Any]:
    return pod(built, name, kind)["containers"][0]  # type: ignore[no-any-return]


def entry(built: Built, variable: str, name: str = WORKER) -> dict[str, Any]:
    return next(e for e in container(built, name)["env"] if e["name"] == variable)


def trigger(built: Built, name: str, number: int = 0) -> dict[str, Any]:
    return get(built, "ScaledObject", name)["spec"]["triggers"][number]  # type: ignore[no-any-return]


def remove(built: Built, kind: str, name: str) -> None:
    built.manifests.remove(get(built, kind, name))


def rules(built: Built) -> list[dict[str, Any]]:
    return get(built, "PrometheusRule", "ucmesh")["spec"]["groups"][0]["rules"]  # type: ignore[no-any-return]


def policy(built: Built, name: str) -> dict[str, Any]:
    return get(built, "NetworkPolicy", name)["spec"]  # type: ignore[no-any-return]


def add_literal(built: Built, name: str, value: str) -> None:
    container(built)["env"].append({"name": name, "value": value})


def mesh(built: Built) -> dict[str, str]:
    [found] = [m for m in built.of_kind("ConfigMap") if m["metadata"]["name"].startswith("mesh-")]
    return found["data"]  # type: ignore[no-any-return]


def egress_names(built: Built) -> list[dict[str, str]]:
    return get(built, "CiliumNetworkPolicy", "to-microsoft")["spec"]["egress"][1]["toFQDNs"]  # type: ignore[no-any-return]
