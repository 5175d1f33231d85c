"""What each service's code declares to those who deploy it: settings, port, doors, roles, topics, metrics.

Owns reading that from the code itself: the settings class, the composition root, the HTTP app, the names in the source.
Refuses a list of its own: what is deployed is compared with the code, never with a second description of it.
"""

from __future__ import annotations

import ast
import functools
import importlib
import pkgutil
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, UnionType
from typing import Any, Union, get_args, get_origin

from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from mesh_messaging.names import bulk_group, dead_letter_topic
from mesh_runtime import roles
from mesh_runtime.health import Health
from mesh_runtime.http import create_app
from mesh_runtime.settings import ServiceSettings
from mesh_runtime.testing import StaticVerifier

ROOT = Path(__file__).resolve().parents[2]
MIGRATE = "migrate"
"""The argument that only brings the database up to date; `services` fails for a service whose main does not know it."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of a settings class. `variable` is what the environment calls it."""

    variable: str
    field: str
    is_required: bool
    is_secret: bool
    """A value nobody may see: belongs in a secret, by reference."""
    is_path: bool
    """Names a file or folder that has to be there."""
    default: Any
    """None for a required one too."""


@dataclass(frozen=True, slots=True)
class Service:
    """Everything a manifest may name of one service."""

    name: str
    module: str
    version: str
    settings_class: type[ServiceSettings]
    settings: Mapping[str, Setting]
    """By variable."""
    secrets_dir_variable: str
    """Names a folder with one file a setting: the lower-case name of the variable."""
    roles: tuple[str, ...]
    group: str
    """Of its consumer in Apache Kafka; its name in inbox and dead letters too."""
    consumes: tuple[str, ...]
    bulk: tuple[str, ...]
    """Of these, the topics that its bulk group reads."""
    produces: tuple[str, ...]
    """Topics it writes to by name, its dead-letter topics included."""
    replies: bool
    """It also writes to whatever `ucmesh.<requester>.replies.v<N>` a command names."""
    metrics: Mapping[str, tuple[str, ...]]
    """Name of each time series, with the labels it has."""

    def variable(self, field: str) -> str:
        """The variable of a field of the settings class."""
        return next(s.variable for s in self.settings.values() if s.field == field)

    def group_of(self, topic: str) -> str:
        """The group as which it reads the topic."""
        return bulk_group(self.group) if topic in self.bulk else self.group

    @property
    def http_port(self) -> str:
        """The variable that sets the port of the HTTP API."""
        return self.variable("http_port")

    def topics_written(self) -> set[str]:
        """All of them, with the replies it may be asked for."""
        return {*self.produces, *(reply_topics() if self.replies else ())}


@functools.cache
def services() -> Mapping[str, Service]:
    """Every service of the workspace by its name (`graph-adapter`)."""
    folders = sorted(path.parent for path in (ROOT / "services").glob("*/pyproject.toml"))
    return {folder.name: _service(folder) for folder in folders}


@functools.cache
def health_paths() -> frozenset[str]:
    """The doors every service opens to anyone: liveness, readiness, start-up."""
    return frozenset(path for path in _common_paths() if path.startswith("/health/"))


@functools.cache
def metrics_path() -> str:
    """Where every service shows its metrics to those with a token."""
    [path] = [path for path in _common_paths() if path == "/metrics"]
    return path


def reply_topics() -> frozenset[str]:
    """Where the requesters of the mesh wait for answers."""
    return frozenset(t for s in services().values() for t in s.consumes if ".replies." in t)


def all_topics() -> frozenset[str]:
    """Every topic some service reads or writes, dead-letter topics included."""
    return frozenset(topic for service in services().values() for topic in (*service.consumes, *service.produces))


def _service(folder: Path) -> Service:
    module = folder.name.replace("-", "_")
    main = importlib.import_module(f"{module}.main")
    if f'["{MIGRATE}"]' not in _source(main):
        raise AssertionError(f"{module}.main does not know the argument {MIGRATE}")
    settings_class = _settings_class(module)
    prefix = str(settings_class.model_config.get("env_prefix", ""))
    group, usual, bulk = _consumer(main)
    consumes = (*usual, *bulk)
    dead = {dead_letter_topic(topic, group) for topic in consumes}
    return Service(
        name=folder.name,
        module=module,
        version=tomllib.loads((folder / "pyproject.toml").read_text())["project"]["version"],
        settings_class=settings_class,
        settings={s.variable: s for s in _settings(settings_class, prefix)},
        secrets_dir_variable=f"{prefix}SECRETS_DIR",
        roles=tuple(roles.KNOWN_ROLES),
        group=group,
        consumes=consumes,
        bulk=bulk,
        produces=tuple(sorted((_topics_named(folder) - set(consumes)) | dead)),
        replies=_reads_reply_to(module),
        metrics=dict(_metrics(module)),
    )


def _settings_class(module: str) -> type[ServiceSettings]:
    found = [
        value
        for value in vars(importlib.import_module(f"{module}.settings")).values()
        if isinstance(value, type) and issubclass(value, ServiceSettings) and value is not ServiceSettings
    ]
    [only] = found
    return only


def _settings(cls: type[ServiceSettings], prefix: str) -> Iterator[Setting]:
    for name, field in cls.model_fields.items():
        kinds = set(_kinds(field.annotation))
        yield Setting(
            variable=f"{prefix}{name}".upper(),
            field=name,
            is_required=field.is_required(),
            is_secret=SecretStr in kinds,
            is_path=Path in kinds,
            default=None if field.is_required() else _default(field),
        )


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types a value may have: those of a union one by one."""
    if get_origin(annotation) in (Union, UnionType):
        for one in get_args(annotation):
            yield from _kinds(one)
    else:
        yield annotation


def _default(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=False)


def _consumer(main: ModuleType) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Group, topics and bulk topics, from the call that makes the service's consumer, in the words of its composition
    root.
    """
    calls = [
        node
        for node in ast.walk(ast.parse(_source(main)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "BatchConsumer"
    ]
    [call] = calls
    given = {word.arg: word.value for word in call.keywords}
    bulk = tuple(_value(main, given["bulk_topics"])) if "bulk_topics" in given else ()
    return str(_value(main, given["name"])), tuple(_value(main, given["topics"])), bulk


def _value(main: ModuleType, expression: ast.expr) -> Any:
    """What `NAME` or `module.NAME` is in that module."""
    if isinstance(expression, ast.Attribute):
        return getattr(_value(main, expression.value), expression.attr)
    assert isinstance(expression, ast.Name), ast.unparse(expression)
    return getattr(main, expression.id)


def _topics_named(folder: Path) -> set[str]:
    """The values of the constants called ..._TOPIC or ..._TOPICS."""
    return {
        str(text.value)
        for path in (folder / "src").glob("**/*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assign) and any("_TOPIC" in ast.unparse(target) for target in node.targets)
        for text in ast.walk(node.value)
        if isinstance(text, ast.Constant) and str(text.value).startswith("ucmesh.")
    }


def _reads_reply_to(module: str) -> bool:
    wire = importlib.import_module(f"{module}.wire")
    models = [value for value in vars(wire).values() if isinstance(value, type) and issubclass(value, BaseModel)]
    return any("reply_to" in model.model_fields for model in models)


def _metrics(module: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The series of every metric that stands in a module of the service or of the libraries it runs on."""
    for package in ("mesh_runtime", "mesh_messaging", module):
        for loaded in _modules(package):
            for value in vars(loaded).values():
                if isinstance(value, MetricWrapperBase):
                    labels = tuple(value._labelnames)
                    for family in value.describe():
                        yield from ((name, labels) for name in _series(family.name, family.type))


def _series(name: str, kind: str) -> tuple[str, ...]:
    if kind == "counter":
        return (f"{name}_total",)
    if kind == "histogram":
        return (f"{name}_bucket", f"{name}_count", f"{name}_sum")
    return (name,)


def _modules(package: str) -> Iterator[ModuleType]:
    root = importlib.import_module(package)
    yield root
    for found in pkgutil.walk_packages(root.__path__, prefix=f"{package}."):
        if ".migrations" not in found.name and not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def _common_paths() -> list[str]:
    app = create_app(title="any", version="0", description="", verifier=StaticVerifier({}), health=Health(), routers=[])
    return [str(route.path) for included in app.routes for route in included.original_router.routes]  # type: ignore[attr-defined]


def _source(module: ModuleType) -> str:
    assert module.__file__ is not None
    return Path(module.__file__).read_text()
