"""Settings of the process, read from PWSH_GATEWAY_* by main only. What can change while it runs is not here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from mesh_runtime.settings import ServiceSettings


class GatewaySettings(ServiceSettings):
    """Environment of the gateway."""

    model_config = SettingsConfigDict(
        env_prefix="PWSH_GATEWAY_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    backend: Literal["pwsh", "simulated"] = Field(
        "pwsh", description="who runs cmdlets: local PowerShell or the simulator"
    )
    pwsh_program: str = Field("pwsh", min_length=1, description="the PowerShell to start")
    module_path: str | None = Field(None, description="folders with the PowerShell modules, in PSModulePath form")
    simulated_command: str = Field(
        f"{sys.executable} -m ucmesh_simulator.pwsh_host", description="command line of the simulated session host"
    )
    simulator_url: str | None = Field(None, description="base URL of a simulator, handed to the session hosts")
    simulator_ca: Path | None = Field(None, description="CA bundle (PEM) of the simulator, handed to the session hosts")
    lease_seconds: float = Field(15, ge=1, le=600, description="how long a dead replica's operations stay taken")
