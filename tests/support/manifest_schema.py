"""Manifests against the schemas of the API: Kubernetes' own, strictly, and those of the custom resources we use."""

from __future__ import annotations

import functools
import importlib.resources
import json
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from typing import Any

import jsonschema_rs

from support.declared import ROOT
from support.manifests import Built, Manifest

KUBERNETES = ("v1.32.0", "v1.37.0")
"""The oldest release k8s/README.md promises, and the newest there are schemas of."""
SCHEMAS = ROOT / "tests" / "unit" / "k8s" / "schemas"


def check_schema(built: Built) -> list[str]:
    """Unknown fields, wrong types, missing ones."""
    return [finding for manifest in built.manifests for finding in _wrong(manifest)]


def _wrong(manifest: Manifest) -> list[str]:
    place = f"{manifest['kind']} {manifest['metadata']['name']}"
    found = []
    for release in KUBERNETES:
        validator = _validator(manifest["apiVersion"], manifest["kind"], release)
        if validator is None:
            return [f"{place}: there is no schema of {manifest['apiVersion']}"]
        for error in validator.iter_errors(manifest):
            where = ".".join(str(step) for step in error.instance_path)
            found.append(f"{place} ({release}): {where}: {error.message}")
    return found


@functools.cache
def _validator(api_version: str, kind: str, release: str) -> jsonschema_rs.Validator | None:
    own = SCHEMAS / f"{kind}.json"
    if own.exists():
        schema = json.loads(own.read_text())
        return jsonschema_rs.Draft202012Validator(schema)
    folder = _folder(release)
    group, _, version = api_version.rpartition("/")
    file = folder / f"{kind.lower()}-{group.split('.')[0] + '-' if group else ''}{version}.json"
    if not file.is_file():
        return None
    return jsonschema_rs.Draft202012Validator(_closed(json.loads(file.read_text()), release))


@functools.cache
def _definitions(release: str) -> Mapping[str, Any]:
    return dict(json.loads((_folder(release) / "_definitions.json").read_text())["$defs"])


def _folder(release: str) -> Traversable:
    """`strict`: an unknown field is wrong."""
    return importlib.resources.files("kubernetes_validate") / "kubernetes-json-schema" / f"{release}-local-strict"


def _closed(schema: dict[str, Any], release: str) -> dict[str, Any]:
    """The schema with the definitions it refers to inside."""
    text = json.dumps({**{key: schema[key] for key in schema if key != "$id"}, "$defs": _definitions(release)})
    return dict(json.loads(text.replace("/api/_definitions.json#", "#")))
