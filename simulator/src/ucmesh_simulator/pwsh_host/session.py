"""One session: connect once, assert the tenant before every command, run allow-listed cmdlets. Owns the answers to the
protocol's operations; knows neither stdin nor stdout."""

import time
import uuid
from typing import Any

from ucmesh_simulator import facts
from ucmesh_simulator.clock import iso
from ucmesh_simulator.powershell.parameters import find_cmdlet
from ucmesh_simulator.pwsh_host.binding import bind
from ucmesh_simulator.pwsh_host.records import HostError, command_not_found, not_allowed, own
from ucmesh_simulator.pwsh_host.transport import CONNECT, HTTP_SECONDS_MAX, Connection, new_client, open_pfx

ITEMS_MAX = 10_000
WARNINGS_MAX = 50
ASSERT_SECONDS_MAX = 60.0
MODULES = ("MicrosoftTeams", "ExchangeOnlineManagement")
_TEAMS_ENVIRONMENTS = {"gcc-high": "TeamsGCCH", "dod": "TeamsDOD", "china": "TeamsChina"}
_EXCHANGE_ENVIRONMENTS = {"gcc-high": "O365USGovGCCHigh", "dod": "O365USGovDoD", "china": "O365China"}


class Session:
    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._tenant_id = ""
        self._allowed: dict[str, set[str]] = {}
        self._used = False

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply without its `id` and `duration_ms`. Never raises for a request."""
        try:
            match request.get("op"):
                case "connect":
                    return self._connect(request)
                case "invoke":
                    return self._invoke(request)
                case "ping":
                    return {"ok": True}
                case other:
                    raise not_allowed(f"unknown op '{other}'")
        except HostError as wrong:
            return {"ok": False, "error": wrong.frame}

    # -- connect -------------------------------------------------------------------------------------------------------
    def _connect(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._used:
            raise not_allowed("this process is connected already")
        self._used = True
        module = str(request["module"])
        if module not in MODULES:
            raise own(
                "Modules_ModuleNotFound,Microsoft.PowerShell.Commands.ImportModuleCommand",
                f"The specified module '{module}' was not loaded because no valid module file was found in any module "
                "directory.",
                "ResourceUnavailable",
            )
        self._tenant_id = str(request["tenant_id"]).lower()
        self._allowed = {name.lower(): {one.lower() for one in names} for name, names in request["allow"].items()}
        credential = open_pfx(str(request["pfx"]), str(request["password"]))
        self._bind_connect(module, request)
        client, base = new_client()
        tenant_name = str(request["tenant_id"] if module == "MicrosoftTeams" else request["organization"])
        connection = Connection(module, tenant_name, str(request["client_id"]), credential, client, base)
        seen = connection.call(CONNECT[module], {})["output"][0]
        connection.fields = {
            "tenant_id": seen["TenantId" if module == "MicrosoftTeams" else "TenantID"],
            "organization": str(request.get("organization") or ""),
            "connection_id": str(uuid.uuid4()),
        }
        self._connection = connection
        tenant_id = self._seen_tenant(ASSERT_SECONDS_MAX)
        version = facts.load(f"{module}.json")["version"]
        return {"ok": True, "output": {"tenant_id": tenant_id}, "module_version": version}

    def _bind_connect(self, module: str, request: dict[str, Any]) -> None:
        """The same parameters the script passes, so a combination PowerShell refuses is refused here."""
        cloud = str(request.get("cloud", "commercial"))
        given: dict[str, Any]
        if module == "MicrosoftTeams":
            given = {
                "TenantId": request["tenant_id"],
                "ApplicationId": request["client_id"],
                "Certificate": "certificate",
            }
            if cloud in _TEAMS_ENVIRONMENTS:
                given["TeamsEnvironmentName"] = _TEAMS_ENVIRONMENTS[cloud]
        else:
            given = {
                "AppId": request["client_id"],
                "Organization": request["organization"],
                "Certificate": "certificate",
            }
            if cloud in _EXCHANGE_ENVIRONMENTS:
                given["ExchangeEnvironmentName"] = _EXCHANGE_ENVIRONMENTS[cloud]
        cmdlet = find_cmdlet(module, CONNECT[module])
        assert cmdlet is not None
        bind(cmdlet, given)

    # -- invoke --------------------------------------------------------------------------------------------------------
    def _invoke(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._connection is None:
            raise own("UcmeshNotConnected", "session is not valid: not connected")
        name = str(request["cmdlet"])
        allowed = self._allowed.get(name.lower())
        if allowed is None:
            raise not_allowed(f"{name} is not on the list of this session")
        for parameter in request["params"]:
            if parameter.lower() not in allowed:
                raise not_allowed(f"{name} -{parameter} is not on the list of this session")
        timeout = int(request["timeout_ms"]) / 1000
        wanted = str(request["assert_tenant"]).lower()
        seen = self._seen_tenant(min(ASSERT_SECONDS_MAX, timeout))
        if wanted not in {seen} or self._tenant_id != wanted:
            refused = own("UcmeshTenantMismatch", f"connected to tenant '{seen}', not to '{wanted}'", "SecurityError")
            return {"ok": False, "tenant_id": seen, "error": refused.frame}
        reply: dict[str, Any] = {"tenant_id": seen, "warnings": []}
        try:
            output, warnings = self._run(name, request["params"], timeout)
        except HostError as wrong:
            wrong.frame["cmdlet"] = wrong.frame["cmdlet"] or name
            return {**reply, "ok": False, "error": wrong.frame}
        reply["warnings"] = warnings[:WARNINGS_MAX]
        rows = [_selected(row, request.get("select")) for row in output[:ITEMS_MAX]]
        return {**reply, "ok": True, "output": rows}

    def _run(self, name: str, given: dict[str, Any], timeout_seconds: float) -> tuple[list[dict[str, Any]], list[str]]:
        assert self._connection is not None
        cmdlet = find_cmdlet(self._connection.module, name)
        if cmdlet is None:
            raise command_not_found(name)
        parameters = bind(cmdlet, given)
        if cmdlet.name == "Get-ConnectionInformation":
            return [self._connection_information()], []
        answer = self._connection.call(cmdlet.name, parameters, timeout_seconds)
        return list(answer["output"]), list(answer["warnings"])

    def _seen_tenant(self, timeout_seconds: float = HTTP_SECONDS_MAX) -> str:
        """The tenant this process acts on right now, asked the way the script asks."""
        assert self._connection is not None
        if self._connection.module == "MicrosoftTeams":
            rows = self._connection.call("Get-CsTenant", {}, timeout_seconds)["output"]
            return str(rows[0]["TenantId"]).lower() if len(rows) == 1 else ""
        return str(self._connection.fields["tenant_id"]).lower()

    def _connection_information(self) -> dict[str, Any]:
        connection = self._connection
        assert connection is not None
        return {
            "ConnectionId": connection.fields["connection_id"],
            "State": "Connected",
            "Id": 1,
            "Name": "ExchangeOnline_1",
            "UserPrincipalName": None,
            "ConnectionUri": "https://outlook.office365.com",
            "TokenExpiryTimeUTC": iso(connection.expires_at),
            "TokenStatus": "Active" if connection.expires_at > time.time() else "Expired",
            "CertificateAuthentication": True,
            "ModuleName": "RestCmdlets",
            "ModulePrefix": "",
            "Organization": connection.fields["organization"],
            "DelegatedOrganization": None,
            "AppId": connection.client_id,
            "PageSize": 1000,
            "TenantID": connection.fields["tenant_id"],
            "ConnectionUsedForInbuiltCmdlets": True,
            "IsEopSession": False,
        }


def _selected(row: dict[str, Any], names: list[str] | None) -> dict[str, Any]:
    """Properties by case-insensitive name, under the name that was asked for; null for one the object does not have."""
    if names is None:
        return row
    held = {name.lower(): value for name, value in row.items()}
    return {name: held.get(name.lower()) for name in names}
