"""$select, $filter, $top and paging over directory lists. Owns page sizes and the opaque `$skiptoken`."""

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

from ucmesh_simulator.directory import schema
from ucmesh_simulator.directory.errors import bad_request, unsupported_query
from ucmesh_simulator.directory.filters import Filter, parse_filter
from ucmesh_simulator.directory.messages import QUERIES_REMEMBERED_MAX, GraphReply, GraphRequest

PAGE_DEFAULT, PAGE_MAX = 100, 999


class Sequenced(Protocol):
    sequence: int


T = TypeVar("T", bound=Sequenced)


def selected(request: GraphRequest, entity: str, defaults: tuple[str, ...]) -> tuple[str, ...]:
    """The properties asked for; raises 400 for unknown ones."""
    text = request.query.get("$select")
    return _names(text, entity) if text else defaults


@lru_cache(maxsize=QUERIES_REMEMBERED_MAX)
def _names(text: str, entity: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    schema.check_names(entity, names)
    return names if "id" in names else ("id", *names)


def top_of(request: GraphRequest) -> int | None:
    text = request.query.get("$top")
    if text is None:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= PAGE_MAX:
        raise bad_request(f"Invalid page size specified: '{text}'. Must be between 1 and {PAGE_MAX} inclusive.")
    return int(text)


def filter_of(request: GraphRequest, entity: str) -> Filter | None:
    """Raises 400 for what does not parse, for unknown properties and for advanced operators without their header."""
    if "$search" in request.query and not request.advanced:
        raise bad_request(
            "Request with $search query parameter only works through MSGraph with a special request header: "
            "'ConsistencyLevel: eventual'",
            "Request_UnsupportedQuery",
        )
    text = request.query.get("$filter")
    if not text:
        return None
    parsed = parse_filter(text)
    schema.check_names(entity, parsed.names)
    if (parsed.advanced or "$orderby" in request.query) and not request.advanced:
        raise unsupported_query()
    return parsed


def page(
    request: GraphRequest,
    rows: Iterable[T],
    render: Callable[[T], Mapping[str, Any]],
    context: str,
) -> GraphReply:
    """One page of `rows`, which come in ascending sequence; adds `@odata.nextLink` when there is more."""
    size = top_of(request) or PAGE_DEFAULT
    after = _read_token(request.query.get("$skiptoken"))
    values: list[Mapping[str, Any]] = []
    last = 0
    more = False
    for row in rows:
        if row.sequence <= after:
            continue
        if len(values) == size:
            more = True
            break
        values.append(render(row))
        last = row.sequence
    body: dict[str, Any] = {"@odata.context": request.context(context)}
    if more:
        body["@odata.nextLink"] = _next_link(request, last)
    body["value"] = values
    return GraphReply(200, body)


def _next_link(request: GraphRequest, last: int) -> str:
    options = {name: value for name, value in request.query.items() if name != "$skiptoken"}
    options["$skiptoken"] = base64.urlsafe_b64encode(f"RFNwdAIAAQAAA:{last}".encode()).decode().rstrip("=")
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in options.items())
    return f"{request.origin}/v1.0{request.path}?{query}"


def _read_token(token: str | None) -> int:
    if token is None:
        return 0
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
        return int(text.rsplit(":", 1)[1])
    except (binascii.Error, ValueError, IndexError) as wrong:
        raise bad_request("The specified page token value is invalid.", "Directory_ExpiredPageToken") from wrong
