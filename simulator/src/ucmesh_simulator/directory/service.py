"""Answers one Graph request: fault, throttle, permission, operation, log. Owns that order and the headers every answer
carries; used alike for single requests and for the items of a $batch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ucmesh_simulator.clock import iso
from ucmesh_simulator.directory.access import authorize
from ucmesh_simulator.directory.errors import GraphError, bad_request
from ucmesh_simulator.directory.messages import GraphReply, GraphRequest
from ucmesh_simulator.directory.routes import Route, match
from ucmesh_simulator.faults import Fault
from ucmesh_simulator.requests_log import LoggedRequest
from ucmesh_simulator.tenant import Tenant
from ucmesh_simulator.throttling import PERCENTAGE_SHOWN_FROM, Verdict, price
from ucmesh_simulator.world import World

_SERVER = '{"DataCenter":"Simulated","Slice":"E","Ring":"1","ScaleUnit":"001","RoleInstance":"SIM000000000001"}'
DIAGNOSTIC = f'{{"ServerInfo":{_SERVER}}}'
_FAULT_CODES = {
    429: "TooManyRequests",
    500: "InternalServerError",
    502: "BadGateway",
    503: "ServiceUnavailable",
    504: "GatewayTimeout",
}


@dataclass(slots=True)
class Answer:
    """A reply, and the fault whose delay or dropped connection the transport still has to carry out."""

    reply: GraphReply
    fault: Fault | None = None


class GraphService:
    def __init__(self, world: World) -> None:
        self._world = world

    def answer(self, request: GraphRequest) -> Answer:
        fault = request.tenant.faults.strike("graph", request.method, request.path)
        code: str | None = None
        if request.method != "GET":
            self._world.writes += 1
        try:
            if fault is not None and fault.action == "status":
                raise _fault_error(fault)
            reply = GraphReply(0) if fault is not None and fault.action == "drop" else self._run(request)
            if fault is not None and fault.action == "status-after":
                raise _fault_error(fault)
        except GraphError as refused:
            code = refused.code
            reply = self._refusal(request, refused)
        self._log(request, reply, code, fault)
        reply.headers["request-id"] = request.request_id
        reply.headers["client-request-id"] = request.client_request_id or request.request_id
        return Answer(reply, fault)

    def _run(self, request: GraphRequest) -> GraphReply:
        route, ids = match(request.method, request.segments)
        headers: dict[str, str] = {}
        if request.tenant.knobs.throttling:
            throttled = self._throttle(request, route, headers)
            if throttled is not None:
                if request.in_batch and request.method != "GET" and _chance(request.tenant):
                    authorize(request.caller, route.permission, request.method)
                    route.run(request, ids)  # done, and answered 429 all the same
                raise throttled
        authorize(request.caller, route.permission, request.method)
        if request.body is not None and request.in_batch and "content-type" not in request.headers:
            raise bad_request("A Content-Type header is required for a request with a body.", "BadRequest")
        reply = route.run(request, ids)
        reply.headers.update(headers)
        return reply

    def _throttle(self, request: GraphRequest, route: Route, headers: dict[str, str]) -> GraphError | None:
        tenant, query = request.tenant, request.query
        top = query.get("$top", "")
        units = price(
            request.method,
            route.units,
            select="$select" in query,
            expand="$expand" in query,
            top=int(top) if top.isdecimal() else None,
        )
        verdict = tenant.budget.spend(
            request.caller.client_id,
            _size(tenant),
            units=units,
            write=request.method != "GET",
            now=tenant.now(),
            world=self._world.budget,
            ids=f"{request.caller.client_id}/{tenant.id}",
        )
        headers["x-ms-resource-unit"] = str(units)
        if verdict.retry_after_seconds is None:
            if verdict.used >= PERCENTAGE_SHOWN_FROM:
                headers["x-ms-throttle-limit-percentage"] = f"{verdict.used:.2f}"
            return None
        return _throttled(verdict, retry_after=tenant.knobs.retry_after, units=units)

    def _refusal(self, request: GraphRequest, refused: GraphError) -> GraphReply:
        body = refused.body(
            date=iso(request.tenant.now()).removesuffix("Z"),
            request_id=request.request_id,
            client_request_id=request.client_request_id or request.request_id,
        )
        return GraphReply(refused.status, body, dict(refused.headers))

    def _log(self, request: GraphRequest, reply: GraphReply, code: str | None, fault: Fault | None) -> None:
        request.tenant.requests.add(
            LoggedRequest(
                at=request.tenant.now(),
                face="graph",
                method=request.method,
                path=request.path,
                status=reply.status,
                code=code,
                client_id=request.caller.client_id,
                request_id=request.request_id,
                client_request_id=request.client_request_id,
                in_batch=request.in_batch,
                body=request.body,
                fault=fault.action if fault else None,
            )
        )


def common_headers(units: Mapping[str, str] | None = None) -> dict[str, str]:
    return {"odata-version": "4.0", "x-ms-ags-diagnostic": DIAGNOSTIC, "cache-control": "no-cache", **(units or {})}


def _size(tenant: Tenant) -> str:
    if tenant.size:
        return tenant.size
    count = len(tenant.users)
    return "S" if count < 50 else "M" if count <= 500 else "L"


def _chance(tenant: Tenant) -> bool:
    share = tenant.knobs.throttled_but_applied_probability
    return share > 0 and tenant.random.random() < share


def _throttled(verdict: Verdict, *, retry_after: bool, units: int) -> GraphError:
    headers = {
        "x-ms-throttle-scope": verdict.scope,
        "x-ms-throttle-information": verdict.information,
        "x-ms-resource-unit": str(units),
    }
    if retry_after:
        headers["retry-after"] = str(verdict.retry_after_seconds)
    return GraphError(429, "TooManyRequests", "Too many requests.", headers=headers)


def _fault_error(fault: Fault) -> GraphError:
    headers = {}
    if fault.retry_after_seconds is not None:
        headers["retry-after"] = str(math.ceil(fault.retry_after_seconds))
    if fault.status == 429:
        headers["x-ms-throttle-information"] = "WriteLimitExceeded"
    code = fault.code or _FAULT_CODES.get(fault.status, "UnknownError")
    message = "Too many requests." if fault.status == 429 else "The service is temporarily unavailable."
    return GraphError(fault.status, code, message, headers=headers)
