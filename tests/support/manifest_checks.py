"""Every check there is of manifests, and which overlay it is about."""

import functools
from collections.abc import Callable

from support import (
    manifest_images,
    manifest_policies,
    manifest_references,
    manifest_scaling,
    manifest_schema,
    manifest_topics,
    manifest_traffic,
    manifests,
)
from support.manifests import K8S, Built

Check = Callable[[Built], list[str]]

MODULES = (
    manifest_schema,
    manifest_policies,
    manifest_images,
    manifest_references,
    manifest_topics,
    manifest_scaling,
    manifest_traffic,
)
CHECKS: dict[str, Check] = {
    name: check for module in MODULES for name, check in vars(module).items() if name.startswith("check_")
}
PRODUCTION_ONLY = {"check_availability"} | {name for name in vars(manifest_traffic) if name.startswith("check_")}
GOVERNMENT_ONLY = {"check_government_egress"}
OVERLAYS = ("dev", "production", "gov-cloud")


@functools.cache
def overlay(name: str) -> Built:
    return manifests.build(K8S / "overlays" / name)


def holds_for(check: str, name: str) -> bool:
    if check in GOVERNMENT_ONLY:
        return name == "gov-cloud"
    return name != "dev" or check not in PRODUCTION_ONLY
