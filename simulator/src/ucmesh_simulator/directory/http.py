"""The Graph face over HTTP: /v1.0 requests and /v1.0/$batch. Owns reading, writing and carrying out transport
faults."""

import asyncio
from typing import Any
from urllib.parse import unquote

import orjson

from ucmesh_simulator.asgi import (
    Receive,
    Scope,
    Send,
    drop_connection,
    headers_of,
    origin_of,
    read_body,
    send_json,
)
from ucmesh_simulator.clock import iso
from ucmesh_simulator.directory.access import authenticate
from ucmesh_simulator.directory.batch import Item, parse_batch, run_batch
from ucmesh_simulator.directory.errors import GraphError, bad_request
from ucmesh_simulator.directory.messages import GraphReply, GraphRequest, parse_query, split_path
from ucmesh_simulator.directory.service import GraphService, common_headers
from ucmesh_simulator.faults import Fault
from ucmesh_simulator.identity.signing import Caller
from ucmesh_simulator.tenant import Tenant
from ucmesh_simulator.world import World

PREFIX = "/v1.0"


class GraphFace:
    def __init__(self, world: World) -> None:
        self._world = world
        self._service = GraphService(world)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        request_id = self._world.new_request_id()
        try:
            caller, tenant = authenticate(self._world, headers.get("authorization", ""))
            body = _json(await read_body(receive), headers)
        except GraphError as refused:
            await self._refuse(send, refused, request_id, headers)
            return
        path: str = scope["path"][len(PREFIX) :]
        call = _Call(caller, tenant, headers, request_id)
        if path.lower() == "/$batch" and scope["method"] == "POST":
            await self._batch(receive, send, call, body)
            return
        request = _request(call, scope["method"], path, scope["query_string"].decode("latin-1"))
        request.body = body
        answer = self._service.answer(request)
        await self._wait(tenant)
        if await carried_out(answer.fault, receive, send):
            return
        await send_json(send, answer.reply.status, answer.reply.body, common_headers(answer.reply.headers))

    async def _batch(self, receive: Receive, send: Send, call: "_Call", body: object) -> None:
        try:
            items = parse_batch(body)
        except GraphError as refused:
            await self._refuse(send, refused, call.request_id, call.headers)
            return
        faults: list[Fault] = []

        def run(item: Item) -> GraphReply:
            answer = self._service.answer(self._inner(call, item))
            if answer.fault is not None:
                faults.append(answer.fault)
            return answer.reply

        def refuse(error: GraphError) -> GraphReply:
            return GraphReply(error.status, self._error_body(error, call.request_id, call.headers))

        responses = run_batch(items, run, refuse)
        if call.tenant.knobs.batch_order_random:
            call.tenant.random.shuffle(responses)
        await self._wait(call.tenant)
        for fault in faults:
            if await carried_out(fault, receive, send):
                return
        sent = {
            "request-id": call.request_id,
            "client-request-id": call.headers.get("client-request-id", call.request_id),
        }
        await send_json(send, 200, {"responses": responses}, common_headers(sent))

    def _inner(self, call: "_Call", item: Item) -> GraphRequest:
        path, _, query = item.url.partition("?")
        headers = {**item.headers, "host": call.headers.get("host", "")}
        inner = _Call(call.caller, call.tenant, headers, self._world.new_request_id())
        request = _request(inner, item.method, unquote(path), query)
        request.body = item.body
        request.in_batch = True
        return request

    async def _wait(self, tenant: Tenant) -> None:
        if tenant.knobs.graph_latency_seconds:
            await asyncio.sleep(tenant.knobs.graph_latency_seconds)

    def _error_body(self, error: GraphError, request_id: str, headers: dict[str, str]) -> dict[str, object]:
        date = iso(self._world.clock.now()).removesuffix("Z")
        return error.body(
            date=date, request_id=request_id, client_request_id=headers.get("client-request-id", request_id)
        )

    async def _refuse(self, send: Send, error: GraphError, request_id: str, headers: dict[str, str]) -> None:
        sent = {
            "request-id": request_id,
            "client-request-id": headers.get("client-request-id", request_id),
            **error.headers,
        }
        if error.status == 401:
            sent["www-authenticate"] = (
                'Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize"'
            )
        await send_json(send, error.status, self._error_body(error, request_id, headers), common_headers(sent))


class _Call:
    """What the items of one HTTP request share."""

    __slots__ = ("caller", "headers", "request_id", "tenant")

    def __init__(self, caller: Caller, tenant: Tenant, headers: dict[str, str], request_id: str) -> None:
        self.caller = caller
        self.tenant = tenant
        self.headers = headers
        self.request_id = request_id


def _request(call: _Call, method: str, path: str, query: str) -> GraphRequest:
    return GraphRequest(
        method=method,
        path=path,
        segments=split_path(path),
        query=parse_query(query),
        headers=call.headers,
        body=None,
        tenant=call.tenant,
        caller=call.caller,
        application=call.tenant.application_of_client(call.caller.client_id),
        request_id=call.request_id,
        client_request_id=call.headers.get("client-request-id"),
        origin=origin_of(call.headers),
    )


async def carried_out(fault: Fault | None, receive: Receive, send: Send) -> bool:
    """Waits and drops as the fault says; True when there is nothing left to answer."""
    if fault is None:
        return False
    if fault.delay_seconds:
        await asyncio.sleep(fault.delay_seconds)
    if fault.action.startswith("drop"):
        await drop_connection(receive, send)
        return True
    return False


def _json(content: bytes, headers: dict[str, str]) -> Any:
    """Raises GraphError 400/415 for what is no JSON."""
    if not content:
        return None
    if "json" not in headers.get("content-type", "application/json"):
        raise GraphError(415, "UnsupportedMediaType", "The content type is not supported.")
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as wrong:
        raise bad_request(
            "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid "
            "JSON format.",
            "BadRequest",
        ) from wrong
