"""Who runs the cmdlets: local PowerShell, or the simulated host for machines without one. Both speak the same protocol.

Owns the command lines. Refuses secrets in them.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from mesh_runtime.settings import SettingsError
from pwsh_gateway.adapters.hosts.process import HostCommand


def pwsh(program: str, script: Path, *, module_path: str | None, variables: dict[str, str]) -> HostCommand:
    """A real PowerShell running our session host. Raises SettingsError when the program is not there."""
    found = shutil.which(program)
    if found is None:
        raise SettingsError(
            f"cannot start: there is no {program} on PATH (set PWSH_GATEWAY_PWSH_PROGRAM to PowerShell 7.4 or newer)"
        )
    own = {"PSModulePath": module_path} if module_path else {}
    argv = (found, "-NoLogo", "-NoProfile", "-NonInteractive", "-File", str(script))
    return HostCommand(argv, {**own, **variables})


def simulated(command: str, *, variables: dict[str, str]) -> HostCommand:
    """The simulated host."""
    return HostCommand(tuple(shlex.split(command)), variables)
