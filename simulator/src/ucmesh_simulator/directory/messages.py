"""One Graph request and its answer, whether it came alone or inside a $batch. Owns parsing of path and query; knows no
routes."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from ucmesh_simulator.directory.errors import bad_request
from ucmesh_simulator.identity.signing import Caller
from ucmesh_simulator.objects import Application
from ucmesh_simulator.tenant import Tenant

QUERIES_REMEMBERED_MAX = 1_000
"""Clients ask the same few questions; those with a name in them come and go."""


@dataclass(slots=True)
class GraphRequest:
    method: str
    path: str  # without /v1.0, as the client wrote it
    segments: list[str]
    query: dict[str, str]  # option names lower-case, with their `$`
    headers: dict[str, str]
    body: Any
    tenant: Tenant
    caller: Caller
    application: Application | None
    request_id: str
    client_request_id: str | None
    origin: str
    in_batch: bool = False

    @property
    def advanced(self) -> bool:
        """ConsistencyLevel: eventual together with $count=true."""
        return (
            self.headers.get("consistencylevel", "").lower() == "eventual"
            and self.query.get("$count", "").lower() == "true"
        )

    def object_body(self) -> dict[str, Any]:
        """The body as an object; raises GraphError 400."""
        if not isinstance(self.body, dict):
            raise bad_request("Empty Payload. JSON content expected.", "BadRequest")
        return self.body

    def context(self, name: str) -> str:
        return f"{self.origin}/v1.0/$metadata#{name}"


@dataclass(slots=True)
class GraphReply:
    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


def split_path(path: str) -> list[str]:
    return [piece for piece in path.split("/") if piece]


def parse_query(query: str) -> dict[str, str]:
    """Later duplicates win; the `$` of system options may be left out, as on the service."""
    return dict(_options(query)) if query else {}


@lru_cache(maxsize=QUERIES_REMEMBERED_MAX)
def _options(query: str) -> tuple[tuple[str, str], ...]:
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        lowered = name.lower()
        options[lowered if lowered.startswith("$") else f"${lowered}"] = value
    return tuple(options.items())
