"""The mesh a set is recorded on and put back into: the keys of tests/replay/keys, short leases, the simulated host.

Owns what both sides must have alike. Refuses to know points or ends.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from support import joiners
from support.recorded import KEYS
from ucmesh_embedded.topology import Options

LEASE_SECONDS = "5"
HANG_SECONDS = 250.0
"""How long a request that will never be answered is held: longer than a recording, shorter than its client waits."""
ENVIRONMENT = {
    "graph-adapter": {"GRAPH_ADAPTER_LEASE_SECONDS": LEASE_SECONDS, "GRAPH_ADAPTER_GRAPH_TIMEOUT_SECONDS": "300"},
    "pwsh-gateway": {"PWSH_GATEWAY_LEASE_SECONDS": LEASE_SECONDS},
}


def options(seed_file: Path, seed: int) -> Options:
    """What the tests of joiners use. The ids that the tenant draws follow `seed`: a replay needs another one."""
    alike = joiners.options(pwsh=False)
    return Options(
        durable=alike.durable,
        keep_tenants=alike.keep_tenants,
        pwsh=alike.pwsh,
        seed_file=seed_file,
        environment={**alike.environment, **ENVIRONMENT},
        seed=seed,
        trace_ratio=0,
    )


def give_keys(home: Path) -> None:
    """Before the first start: what is sealed in a set opens with these."""
    folder = home / "keys"
    folder.mkdir(parents=True, mode=0o700)
    for file in KEYS.glob("*.json"):
        shutil.copy(file, folder)
