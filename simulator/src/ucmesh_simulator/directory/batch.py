"""JSON batching: up to 20 requests in one body. Owns the envelope's rules, the order of dependent items and the shape
of the answer."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ucmesh_simulator.directory.errors import GraphError, bad_request
from ucmesh_simulator.directory.messages import GraphReply

ITEMS_MAX = 20
_FAILED_DEPENDENCY = "The request failed because a request it depends on failed."
_HEADER_NAMES = {"retry-after": "Retry-After", "location": "Location"}
METHODS = frozenset({"GET", "POST", "PATCH", "PUT", "DELETE"})


class Item(NamedTuple):
    id: str
    method: str
    url: str
    headers: dict[str, str]
    body: Any
    depends_on: tuple[str, ...]


def parse_batch(body: object) -> list[Item]:
    """Raises GraphError 400 for an envelope Graph would refuse as a whole."""
    requests = body.get("requests") if isinstance(body, dict) else None
    if not isinstance(requests, list) or not requests:
        raise bad_request("Invalid batch payload format.", "BadRequest")
    if len(requests) > ITEMS_MAX:
        raise bad_request(f"Number of batch request steps exceeds the maximum value of {ITEMS_MAX}.", "BadRequest")
    items: list[Item] = []
    seen: set[str] = set()
    for raw in requests:
        item = _item(raw)
        if item.id in seen:
            raise bad_request(f"Duplicate request id '{item.id}'.", "BadRequest")
        if not set(item.depends_on) <= seen:
            raise bad_request(f"Request '{item.id}' depends on a request that does not come before it.", "BadRequest")
        seen.add(item.id)
        items.append(item)
    return items


def _item(raw: object) -> Item:
    if not isinstance(raw, dict):
        raise bad_request("Invalid batch payload format.", "BadRequest")
    item_id, method, url = raw.get("id"), raw.get("method"), raw.get("url")
    if not isinstance(item_id, str) or not item_id:
        raise bad_request("Request id is missing or not a string.", "BadRequest")
    if not isinstance(method, str) or method.upper() not in METHODS or not isinstance(url, str) or "://" in url:
        raise bad_request(f"Request '{item_id}' has an invalid method or url.", "BadRequest")
    headers = raw.get("headers") or {}
    depends_on = raw.get("dependsOn") or ()
    if not isinstance(headers, dict) or not isinstance(depends_on, list | tuple):
        raise bad_request("Invalid batch payload format.", "BadRequest")
    return Item(
        id=item_id,
        method=method.upper(),
        url=url if url.startswith("/") else f"/{url}",
        headers={str(name).lower(): str(value) for name, value in headers.items()},
        body=raw.get("body"),
        depends_on=tuple(str(one) for one in depends_on),
    )


def run_batch(
    items: list[Item], run: Callable[[Item], GraphReply], refuse: Callable[[GraphError], GraphReply]
) -> list[dict[str, Any]]:
    """Runs the items in order; one whose dependency failed answers 424. `run` never raises."""
    failed: set[str] = set()
    responses: list[dict[str, Any]] = []
    for item in items:
        if failed.intersection(item.depends_on):
            reply = refuse(GraphError(424, "FailedDependency", _FAILED_DEPENDENCY))
        else:
            reply = run(item)
        if reply.status >= 400 or reply.status == 0:
            failed.add(item.id)
        responses.append(_response(item, reply))
    return responses


def _response(item: Item, reply: GraphReply) -> dict[str, Any]:
    headers = {_header_name(name): value for name, value in reply.headers.items()}
    if reply.body is not None:
        headers["Content-Type"] = (
            "application/json; odata.metadata=minimal; odata.streaming=true; IEEE754Compatible=false; charset=utf-8"
        )
    return {"id": item.id, "status": reply.status, "headers": headers, "body": reply.body}


def _header_name(name: str) -> str:
    return _HEADER_NAMES.get(name, name)
