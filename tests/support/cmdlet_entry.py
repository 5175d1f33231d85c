"""Teams and Exchange cmdlets against one simulated tenant, by three ways in: plain HTTP, the simulated host, and the
stub modules in a real PowerShell under the gateway's own script."""

import base64
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from support.session_hosts import SessionHost, real_command, simulated_command
from support.simulated import Tenant, pfx_of
from ucmesh_simulator.powershell.parameters import SHOULD_PROCESS, load_module

E5 = "06ebc4ee-1bb5-47dd-8120-11324bc54e06"
E3 = "05e9a617-0261-4cee-bb44-138d3ef5d965"
MCOPSTN1 = "0dab259f-bf13-4952-b7f8-7db8f131b28d"
SCOPES = {
    "MicrosoftTeams": "48ac35b8-9aa8-4d74-927d-1f4a14a0b239/.default",
    "ExchangeOnlineManagement": "https://outlook.office365.com/.default",
}


class CmdletFailedError(Exception):
    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.error = error

    def __getattr__(self, name: str) -> Any:
        return self.error[name]


@dataclass
class Entry:
    """One way to run cmdlets against one tenant; `users` counts the names given out."""

    way: str
    tenant: Tenant
    organization: str
    key: rsa.RSAPrivateKey
    certificate: x509.Certificate
    stack: ExitStack
    hosts: dict[str, SessionHost] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def run(self, cmdlet: str, **parameters: Any) -> list[dict[str, Any]]:
        module = "MicrosoftTeams" if "-Cs" in cmdlet else "ExchangeOnlineManagement"
        if self.way == "http":
            return self._over_http(module, cmdlet, parameters)
        frame = self._host(module).invoke(cmdlet, self.tenant.tenant_id, None, **parameters)
        if not frame["ok"]:
            raise CmdletFailedError(frame["error"])
        self.warnings = frame["warnings"]
        rows: list[dict[str, Any]] = frame["output"]
        return rows

    def fails(self, cmdlet: str, **parameters: Any) -> dict[str, Any]:
        with pytest.raises(CmdletFailedError) as caught:
            self.run(cmdlet, **parameters)
        return caught.value.error

    def _over_http(self, module: str, cmdlet: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        simulator = self.tenant.simulator
        answer = httpx.post(
            f"{simulator.base_url}/powershell/{module}/{cmdlet}",
            headers={"authorization": f"Bearer {self.tenant.token(SCOPES[module])}"},
            json={"parameters": parameters},
            verify=simulator.context(),
        )
        body = answer.json()
        if answer.status_code != 200:
            error = body["error"]
            raise CmdletFailedError({**error, "type": error["exception_type"]})
        self.warnings = body["warnings"]
        rows: list[dict[str, Any]] = body["output"]
        return rows

    def _host(self, module: str) -> SessionHost:
        if module not in self.hosts:
            command = real_command() if self.way == "pwsh" else simulated_command()
            simulator = self.tenant.simulator
            host = self.stack.enter_context(SessionHost(command, simulator.base_url, simulator.ca_file))
            connected = self.connect(host, module)
            assert connected["ok"], connected
            self.hosts[module] = host
        return self.hosts[module]

    def connect(self, host: SessionHost, module: str, **changes: Any) -> dict[str, Any]:
        fields = {
            "module": module,
            "allow": {one.name: [*one.parameters, *SHOULD_PROCESS] for one in load_module(module)},
            "tenant_id": self.tenant.tenant_id,
            "organization": self.organization,
            "client_id": self.tenant.client_id,
            "pfx": base64.b64encode(pfx_of(self.key, self.certificate, "pw")).decode(),
            "password": "pw",
            "cloud": "commercial",
            **changes,
        }
        return host.send("connect", **fields)

    def user(self, *skus: str, **properties: object) -> tuple[str, str]:
        """A fresh user with licences: (object id, UPN)."""
        name = f"u{uuid.uuid4().hex[:8]}"
        graph = self.tenant.graph()
        made = graph.post("/users", json=self.tenant.user_body(name, **properties)).json()
        if skus:
            add = [{"skuId": sku, "disabledPlans": []} for sku in skus]
            answer = graph.post(f"/users/{made['id']}/assignLicense", json={"addLicenses": add, "removeLicenses": []})
            assert answer.status_code == 200, answer.text
        return made["id"], made["userPrincipalName"]

    def licences(self, user_id: str, *, add: tuple[str, ...] = (), remove: tuple[str, ...] = ()) -> None:
        body = {"addLicenses": [{"skuId": sku, "disabledPlans": []} for sku in add], "removeLicenses": list(remove)}
        assert self.tenant.graph().post(f"/users/{user_id}/assignLicense", json=body).status_code == 200

    def number(self, number: str) -> dict[str, Any] | None:
        return next((one for one in self.tenant.state("numbers") if one["number"] == number), None)
