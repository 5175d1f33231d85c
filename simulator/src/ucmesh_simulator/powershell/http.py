"""`POST /powershell/{module}/{cmdlet}`: runs one cmdlet for a host. Owns reading, faults, the answer and the log.

Body `{"parameters": {...}}` with values already bound; answers 200 `{"output": [...], "warnings": [...]}` or a 4xx/5xx
with `{"error": {...}}` from which the host rebuilds the error record. 401 means: renew the token and try once more."""

import asyncio
from typing import Any

import orjson

from ucmesh_simulator.asgi import Receive, Scope, Send, drop_connection, headers_of, read_body, send_json
from ucmesh_simulator.faults import Fault
from ucmesh_simulator.powershell.access import MODULES, authenticate, authorize
from ucmesh_simulator.powershell.call import CmdletCall
from ucmesh_simulator.powershell.cmdlets import BY_MODULE, Rule
from ucmesh_simulator.powershell.errors import SYSTEM_EXCEPTION, CmdletError, from_fault
from ucmesh_simulator.requests_log import LoggedRequest
from ucmesh_simulator.world import World

_SERVER_SIDE = (
    "A server side error has occurred because of which the operation could not be completed. Please try again after "
    "some time. If the problem still persists, please reach out to MS support."
)


class PowerShellFace:
    def __init__(self, world: World) -> None:
        self._world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send, module: str, name: str) -> None:
        headers = headers_of(scope)
        request_id = headers.get("client-request-id") or self._world.new_request_id()
        try:
            cmdlet, rule = _find(module, name)
            caller, tenant = authenticate(self._world, module, headers.get("authorization", ""))
            parameters = _parameters(await read_body(receive))
        except CmdletError as refused:
            await send_json(send, refused.status, refused.body(), {"request-id": request_id})
            return
        call = CmdletCall(tenant, caller, cmdlet, parameters, request_id)
        fault = tenant.faults.strike("powershell", "POST", f"/{module}/{cmdlet}")
        if not cmdlet.startswith(("Get-", "Connect-")):
            self._world.writes += 1
        status, body, code = self._run(module, call, rule, fault)
        self._log(call, f"/{module}/{cmdlet}", status, code, fault)
        if tenant.knobs.powershell_latency_seconds:
            await asyncio.sleep(tenant.knobs.powershell_latency_seconds)
        if fault is not None and fault.delay_seconds:
            await asyncio.sleep(fault.delay_seconds)
        if fault is not None and fault.action.startswith("drop"):
            await drop_connection(receive, send)
            return
        await send_json(send, status, body, {"request-id": request_id})

    def _run(
        self, module: str, call: CmdletCall, rule: Rule, fault: Fault | None
    ) -> tuple[int, dict[str, object], str | None]:
        try:
            if fault is not None and fault.action in {"status", "powershell-error", "drop"}:
                raise _fault_error(fault)
            authorize(call.caller, module, call.cmdlet, call.request_id)
            _stumble(call)
            output = rule(call)
            if fault is not None and fault.action == "status-after":
                raise _fault_error(fault)
        except CmdletError as refused:
            return refused.status, refused.body(), refused.fqid
        return 200, {"output": list(output), "warnings": call.warnings}, None

    def _log(self, call: CmdletCall, path: str, status: int, code: str | None, fault: Fault | None) -> None:
        call.tenant.requests.add(
            LoggedRequest(
                at=call.tenant.now(),
                face="powershell",
                method="POST",
                path=path,
                status=status,
                code=code,
                client_id=call.caller.client_id,
                request_id=call.request_id,
                client_request_id=None,
                body=call.given,
                fault=fault.action if fault else None,
            )
        )


def _stumble(call: CmdletCall) -> None:
    """The generic error live tenants answer now and then."""
    share = call.tenant.knobs.server_error_probability
    if share and not call.cmdlet.startswith("Connect-") and call.tenant.random.random() < share:
        raise CmdletError(
            f"||{_SERVER_SIDE}",
            fqid="ServerSideError,Write-ErrorMessage",
            category="NotSpecified",
            http=500,
            status=500,
        )


def _find(module: str, name: str) -> tuple[str, Rule]:
    found = BY_MODULE.get(module, {}).get(name.lower())
    if module not in MODULES or found is None:
        raise CmdletError(
            f"The term '{name}' is not recognized as a name of a cmdlet, function, script file, or executable program.",
            fqid="CommandNotFoundException",
            exception_type="System.Management.Automation.CommandNotFoundException",
            category="ObjectNotFound",
            target=name,
            status=404,
        )
    return found


def _parameters(content: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(content or b"{}")
    except orjson.JSONDecodeError as wrong:
        raise CmdletError("The request body is not JSON.", fqid="BadRequest", http=400) from wrong
    parameters = body.get("parameters", {}) if isinstance(body, dict) else None
    if not isinstance(parameters, dict):
        raise CmdletError("The request body has no parameters object.", fqid="BadRequest", http=400)
    return parameters


def _fault_error(fault: Fault) -> CmdletError:
    if fault.error is not None:
        return from_fault(fault.error)
    if fault.status == 429:
        message = "Too many requests. Cmdlet throttling is in effect."
    else:
        message = f"||{_SERVER_SIDE}" if fault.status == 500 else "The service is temporarily unavailable"
    return CmdletError(
        message,
        fqid=fault.code or f"HttpStatus{fault.status}",
        exception_type=SYSTEM_EXCEPTION,
        category="NotSpecified",
        http=fault.status,
        status=fault.status,
        retry_after_seconds=fault.retry_after_seconds,
    )
