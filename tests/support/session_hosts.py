"""Drives a PowerShell session host over its framed protocol: the gateway's own script on a real pwsh, or the simulated
host."""

import json
import os
import shutil
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "services/pwsh-gateway/src/pwsh_gateway/scripts/session_host.ps1"
MODULES = ROOT / "simulator/modules"


def real_command() -> list[str]:
    pwsh = shutil.which("pwsh")
    assert pwsh is not None
    return [pwsh, "-NoLogo", "-NoProfile", "-NonInteractive", "-File", str(SCRIPT)]


def simulated_command() -> list[str]:
    return [sys.executable, "-m", "ucmesh_simulator.pwsh_host"]


@dataclass
class SessionHost:
    """One process; every call writes one request and reads one frame."""

    command: list[str]
    base_url: str
    ca_file: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def __enter__(self) -> "SessionHost":
        environment = {
            **os.environ,
            "PSModulePath": str(MODULES),
            "UCMESH_SIMULATOR_URL": self.base_url,
            "UCMESH_SIMULATOR_CA": str(self.ca_file),
        }
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(10)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def send(self, op: str, **fields: Any) -> dict[str, Any]:
        request_id = str(uuid.uuid4())
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"id": request_id, "op": op, **fields}).encode() + b"\n")
        self.process.stdin.flush()
        while True:
            line = self.process.stdout.readline()
            if not line:
                assert self.process.stderr is not None
                raise AssertionError(f"the host ended: {self.process.stderr.read().decode(errors='replace')[:2000]}")
            if b"\x1e" in line:
                frame: dict[str, Any] = json.loads(line[line.index(b"\x1e") + 1 :])
                assert frame["id"] == request_id
                return frame

    def invoke(self, cmdlet: str, tenant_id: str, select: list[str] | None = None, **params: Any) -> dict[str, Any]:
        return self.send(
            "invoke", cmdlet=cmdlet, params=params, select=select, timeout_ms=60_000, assert_tenant=tenant_id
        )
