"""The stub modules as an admin at a PowerShell prompt meets them: positions, pipelines, streams, connecting in other
ways."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.session_hosts import MODULES
from support.simulated import Simulator, Tenant, install, make_certificate, pem_of, pfx_of, tenant_spec

E5 = "06ebc4ee-1bb5-47dd-8120-11324bc54e06"
KEY, CERTIFICATE = make_certificate("ucmesh")
TEAMS = "48ac35b8-9aa8-4d74-927d-1f4a14a0b239/.default"

pytestmark = pytest.mark.pwsh


@pytest.fixture(scope="module")
def tenant(simulator: Simulator) -> Tenant:
    spec = tenant_spec()
    spec["applications"][0]["certificates"] = [{"certificate": pem_of(CERTIFICATE)}]
    made = install(simulator, spec)
    graph = made.graph()
    for name in ("adele", "alex"):
        user_id = graph.post("/users", json=made.user_body(name)).json()["id"]
        body = {"addLicenses": [{"skuId": E5, "disabledPlans": []}], "removeLicenses": []}
        assert graph.post(f"/users/{user_id}/assignLicense", json=body).status_code == 200
    return made


def run(simulator: Simulator, tenant: Tenant, folder: Path, script: str) -> Any:
    """Runs `script` with $tenant, $client, $domain, $certificate and $pfx set; its last line of output is JSON."""
    pwsh = shutil.which("pwsh")
    assert pwsh is not None
    pfx = folder / "app.pfx"
    pfx.write_bytes(pfx_of(KEY, CERTIFICATE, "pw"))
    head = f"""
        $ErrorActionPreference = 'Continue'; $PSStyle.OutputRendering = 'PlainText'
        $tenant = '{tenant.tenant_id}'; $client = '{tenant.client_id}'; $domain = '{tenant.domain}'; $pfx = '{pfx}'
        $certificate = [Security.Cryptography.X509Certificates.X509Certificate2]::new($pfx, 'pw', 'EphemeralKeySet')
    """
    environment = {
        **os.environ,
        "PSModulePath": str(MODULES),
        "UCMESH_SIMULATOR_URL": simulator.base_url,
        "UCMESH_SIMULATOR_CA": str(simulator.ca_file),
    }
    done = subprocess.run(
        [pwsh, "-NoLogo", "-NoProfile", "-NonInteractive", "-Command", head + script],
        capture_output=True, text=True, env=environment, timeout=100, check=False,
    )  # fmt: skip
    assert done.stdout.strip(), done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_teams_cmdlets_take_positions_and_pipelines(simulator: Simulator, tenant: Tenant, tmp_path: Path) -> None:
    seen = run(simulator, tenant, tmp_path, """
        $connected = Connect-MicrosoftTeams -TenantId $tenant -ApplicationId $client -Certificate $certificate
        Grant-CsTeamsCallingPolicy "adele@$domain" AllowCalling
        Get-CsOnlineUser -Filter "DisplayName -like 'A*'" | Sort-Object DisplayName |
            ForEach-Object {
                $i++
                $number = "+4144555100$i"
                Set-CsPhoneNumberAssignment -Identity $_.Identity -PhoneNumber $number -PhoneNumberType DirectRouting
            }
        $users = Get-CsOnlineUser | Sort-Object DisplayName
        Disconnect-MicrosoftTeams
        $after = try { Get-CsTenant } catch { $_.Exception.Message }
        $policy = $users[0].TeamsCallingPolicy.Name
        @{ tenant = $connected.TenantId; lines = @($users.LineUri); policy = $policy; after = $after } |
            ConvertTo-Json -Compress
    """)  # fmt: skip

    assert seen == {
        "tenant": tenant.tenant_id,
        "lines": ["tel:+41445551001", "tel:+41445551002"],
        "policy": "AllowCalling",
        "after": "You must call the Connect-MicrosoftTeams cmdlet before calling any other cmdlets.",
    }


def test_exchange_errors_do_not_stop_a_script_and_cmdlets_come_with_the_connection(
    simulator: Simulator, tenant: Tenant, tmp_path: Path
) -> None:
    seen = run(simulator, tenant, tmp_path, """
        $before = [bool] (Get-Command Set-Mailbox -ErrorAction SilentlyContinue)
        Connect-ExchangeOnline -AppId $client -Organization $domain -CertificateFilePath $pfx `
            -CertificatePassword (ConvertTo-SecureString pw -AsPlainText -Force) -ShowBanner:$false `
            -CommandName Set-Mailbox, Get-Mailbox
        $missing = [bool] (Get-Command Set-CASMailbox -ErrorAction SilentlyContinue)
        Set-Mailbox nobody -CustomAttribute1 x 2> $null
        $went = 'on'
        Set-Mailbox "adele@$domain" -CustomAttribute1 x -WarningVariable first -WarningAction SilentlyContinue
        Set-Mailbox "adele@$domain" -CustomAttribute1 x -WarningVariable second -WarningAction SilentlyContinue
        $again = "adele@$domain" | Get-EXOMailbox | ForEach-Object PrimarySmtpAddress
        $state = (Get-ConnectionInformation).State
        Disconnect-ExchangeOnline -Confirm:$false
        $warnings = @($first.Count, $second.Count)
        @{ before = $before; missing = $missing; went = $went; warnings = $warnings; again = $again; state = $state
           left = @(Get-ConnectionInformation).Count } | ConvertTo-Json -Compress
    """)  # fmt: skip

    assert seen == {
        "before": False,
        "missing": False,
        "went": "on",
        "warnings": [0, 1],
        "again": f"adele@{tenant.domain}",
        "state": "Connected",
        "left": 0,
    }


def test_a_session_given_tokens_works_until_they_end(simulator: Simulator, tenant: Tenant, tmp_path: Path) -> None:
    token = tenant.token(TEAMS)
    seen = run(simulator, tenant, tmp_path, f"""
        $connected = Connect-MicrosoftTeams -AccessTokens @('graph', '{token}')
        @{{ tenant = $connected.TenantId; name = (Get-CsTenant).DisplayName }} | ConvertTo-Json -Compress
    """)  # fmt: skip

    assert seen == {"tenant": tenant.tenant_id, "name": "Northwind"}
