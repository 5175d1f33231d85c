"""The admin API over plain HTTP on loopback, bearer token required. Owns its paths; every change goes through the same
store the faces read."""

import hmac
from typing import Any

import orjson
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ucmesh_simulator.admin.inspection import REQUESTS_SHOWN_DEFAULT, SECTIONS, show
from ucmesh_simulator.clock import iso
from ucmesh_simulator.faults import FaultError
from ucmesh_simulator.knobs import KnobError
from ucmesh_simulator.seed import SeedFile, TenantSpec
from ucmesh_simulator.tenant import Tenant
from ucmesh_simulator.tenant_builder import SeedError, build_tenant
from ucmesh_simulator.world import World

_ADVANCE_MAX_SECONDS = 400 * 24 * 3600.0


class _RefusedError(Exception):
    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def admin_app(world: World, token: str) -> Starlette:
    """`token` is the bearer every call but /_sim/health must carry."""
    api = _AdminApi(world)
    app = Starlette(
        routes=[
            Route("/_sim/health", api.health, methods=["GET"]),
            Route("/_sim/tenants", api.add_tenants, methods=["POST"]),
            Route("/_sim/tenants", api.list_tenants, methods=["GET"]),
            Route("/_sim/tenants/{tenant}", api.remove_tenant, methods=["DELETE"]),
            Route("/_sim/tenants/{tenant}/state", api.state, methods=["GET"]),
            Route("/_sim/tenants/{tenant}/requests", api.clear_requests, methods=["DELETE"]),
            Route("/_sim/tenants/{tenant}/faults", api.add_fault, methods=["POST"]),
            Route("/_sim/tenants/{tenant}/faults", api.list_faults, methods=["GET"]),
            Route("/_sim/tenants/{tenant}/faults", api.clear_faults, methods=["DELETE"]),
            Route("/_sim/tenants/{tenant}/policies", api.add_policy, methods=["POST"]),
            Route("/_sim/tenants/{tenant}/skus/{part_number}", api.change_seats, methods=["PATCH"]),
            Route("/_sim/tenants/{tenant}/applications/{client_id}", api.change_application, methods=["PATCH"]),
            Route("/_sim/reset", api.reset, methods=["POST"]),
            Route("/_sim/clock", api.advance, methods=["POST"]),
            Route("/_sim/clock", api.clock, methods=["GET"]),
            Route("/_sim/config", api.config, methods=["GET"]),
            Route("/_sim/config", api.change_config, methods=["PATCH"]),
        ],
        exception_handlers={_RefusedError: _refused},
    )
    app.add_middleware(_Door, world=world, token=token)
    return app


class _Door(BaseHTTPMiddleware):
    """Asks for the bearer token and counts writes."""

    def __init__(self, app: Any, world: World, token: str) -> None:
        super().__init__(app)
        self._world = world
        self._token = token

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        given = request.headers.get("authorization", "")
        if request.url.path != "/_sim/health" and not hmac.compare_digest(
            given.encode(), f"Bearer {self._token}".encode()
        ):
            return _json({"detail": "a bearer token is required"}, 401)
        answer = await call_next(request)
        if request.method != "GET":
            self._world.writes += 1
        return answer


class _AdminApi:
    def __init__(self, world: World) -> None:
        self._world = world

    async def health(self, _: Request) -> Response:
        return _json({"status": "ok", "tenants": len(self._world.tenants)})

    # -- tenants ------------------------------------------------------------------------------------------------------
    async def add_tenants(self, request: Request) -> Response:
        """One tenant spec, or a whole seed file with `tenants`."""
        body = await _object(request)
        try:
            if "tenants" in body:
                tenants = install(self._world, SeedFile.model_validate(body))
            else:
                tenants = [_install_one(self._world, TenantSpec.model_validate(body))]
        except ValidationError as wrong:
            detail = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in wrong.errors()[:10])
            raise _RefusedError(422, detail) from wrong
        except (SeedError, KnobError) as wrong:
            raise _RefusedError(422, str(wrong)) from wrong
        return _json({"tenants": [one.id for one in tenants]}, 201)

    async def list_tenants(self, _: Request) -> Response:
        return _json({"tenants": [_summary(one) for one in self._world.tenants.values()]})

    async def remove_tenant(self, request: Request) -> Response:
        self._world.remove(self._tenant(request).id)
        return _json(None, 204)

    async def reset(self, _: Request) -> Response:
        self._world.reset()
        return _json({"tenants": 0})

    async def state(self, request: Request) -> Response:
        tenant = self._tenant(request)
        wanted = request.query_params.get("section")
        known = [*SECTIONS, "requests"]
        names = known if not wanted else [name.strip() for name in wanted.split(",")]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise _RefusedError(422, f"there is no section {unknown[0]!r}; known: {', '.join(known)}")
        text = request.query_params.get("limit", str(REQUESTS_SHOWN_DEFAULT))
        if not text.isdecimal():
            raise _RefusedError(422, "limit is a number")
        limit = int(text)
        face = request.query_params.get("face")
        return _json({name: show(tenant, name, limit=limit, face=face) for name in names})

    async def clear_requests(self, request: Request) -> Response:
        self._tenant(request).requests.clear()
        return _json(None, 204)

    async def add_policy(self, request: Request) -> Response:
        """{"type", "name"}: a policy created now, grantable after policy_visibility_seconds."""
        tenant, body = self._tenant(request), await _object(request)
        policy_type, name = str(body.get("type")), str(body.get("name", "")).removeprefix("Tag:")
        if policy_type not in tenant.policies or not name:
            raise _RefusedError(422, f"type is one of {', '.join(tenant.policies)} and name is not empty")
        tenant.add_policy(policy_type, name, tenant.now() + tenant.knobs.policy_visibility_seconds)
        return _json({"type": policy_type, "name": name}, 201)

    async def change_seats(self, request: Request) -> Response:
        """{"seats"}: a bought or returned number of seats."""
        tenant, body = self._tenant(request), await _object(request)
        sku = next((one for one in tenant.skus.values() if one.part_number == request.path_params["part_number"]), None)
        seats = body.get("seats")
        if sku is None or not isinstance(seats, int) or seats < 0:
            raise _RefusedError(422, "needs a product of the tenant and seats of at least 0")
        sku.enabled = seats
        return _json({"part_number": sku.part_number, "seats": sku.enabled, "consumed": sku.consumed})

    async def change_application(self, request: Request) -> Response:
        """{"roles"?, "exchange_roles"?, "directory_roles"?, "enabled"?}: consent given or taken; new tokens show it."""
        tenant, body = self._tenant(request), await _object(request)
        application = tenant.application_of_client(request.path_params["client_id"])
        if application is None:
            raise _RefusedError(404, "there is no such application")
        for name in ("roles", "exchange_roles", "directory_roles"):
            if isinstance(body.get(name), list):
                setattr(application, name, frozenset(str(one) for one in body[name]))
        if isinstance(body.get("enabled"), bool):
            application.enabled = body["enabled"]
        return _json(
            {"client_id": application.client_id, "roles": sorted(application.roles), "enabled": application.enabled}
        )

    # -- faults -------------------------------------------------------------------------------------------------------
    async def add_fault(self, request: Request) -> Response:
        tenant, body = self._tenant(request), await _object(request)
        try:
            return _json(tenant.faults.add(body).as_dict(), 201)
        except FaultError as wrong:
            raise _RefusedError(422, str(wrong)) from wrong

    async def list_faults(self, request: Request) -> Response:
        return _json({"faults": show(self._tenant(request), "faults")})

    async def clear_faults(self, request: Request) -> Response:
        removed = self._tenant(request).faults.clear(request.query_params.get("id"))
        return _json({"removed": removed})

    # -- time and knobs -----------------------------------------------------------------------------------------------
    async def clock(self, _: Request) -> Response:
        return _json(self._times())

    async def advance(self, request: Request) -> Response:
        body = await _object(request)
        seconds, identity = body.get("advance_seconds", 0), body.get("advance_identity_seconds", 0)
        if not all(isinstance(one, int | float) and 0 <= one <= _ADVANCE_MAX_SECONDS for one in (seconds, identity)):
            raise _RefusedError(
                422, f"advance_seconds and advance_identity_seconds lie between 0 and {_ADVANCE_MAX_SECONDS:g}"
            )
        if isinstance(body.get("frozen"), bool):
            (self._world.clock.freeze if body["frozen"] else self._world.clock.thaw)()
        self._world.clock.advance(float(seconds), identity_seconds=float(identity))
        return _json(self._times())

    def _times(self) -> dict[str, object]:
        return {"now": iso(self._world.clock.now()), "identity_now": iso(self._world.clock.identity_now())}

    async def config(self, request: Request) -> Response:
        tenant_id = request.query_params.get("tenant")
        return _json((self._world.knobs_for(tenant_id) if tenant_id else self._world.knobs).as_dict())

    async def change_config(self, request: Request) -> Response:
        """Knobs, for all tenants or with ?tenant= for one."""
        body = await _object(request)
        tenant_id = request.query_params.get("tenant")
        try:
            self._world.turn(body, tenant_id)
        except KnobError as wrong:
            raise _RefusedError(422, str(wrong)) from wrong
        return _json((self._world.knobs_for(tenant_id) if tenant_id else self._world.knobs).as_dict())

    def _tenant(self, request: Request) -> Tenant:
        tenant = self._world.find(request.path_params["tenant"])
        if tenant is None:
            raise _RefusedError(404, f"there is no tenant {request.path_params['tenant']}")
        return tenant


def install(world: World, seed: SeedFile) -> list[Tenant]:
    """Puts every tenant of a seed into the world; all or none. Raises SeedError, KnobError."""
    if seed.knobs:
        world.turn(seed.knobs)
    tenants = [build_tenant(world, spec) for spec in seed.tenants]
    for tenant in tenants:
        world.add(tenant)
    return tenants


def _install_one(world: World, spec: TenantSpec) -> Tenant:
    tenant = build_tenant(world, spec)
    world.add(tenant)
    return tenant


def _summary(tenant: Tenant) -> dict[str, object]:
    return {
        "tenant_id": tenant.id,
        "display_name": tenant.display_name,
        "domains": list(tenant.domains),
        "users": len(tenant.users),
    }


async def _object(request: Request) -> dict[str, Any]:
    try:
        body = orjson.loads(await request.body() or b"{}")
    except orjson.JSONDecodeError as wrong:
        raise _RefusedError(422, f"the body is not JSON: {wrong}") from wrong
    if not isinstance(body, dict):
        raise _RefusedError(422, "the body is not a JSON object")
    return body


def _json(body: object, status: int = 200) -> Response:
    return Response(b"" if body is None else orjson.dumps(body), status, media_type="application/json")


async def _refused(_: Request, refused: Exception) -> Response:
    assert isinstance(refused, _RefusedError)
    return _json({"detail": refused.detail}, refused.status)
