"""How many processes a service has, what they are called, and which roles each of them runs.

Owns the names. Refuses knowing services.
"""

from collections.abc import Mapping, Sequence

ROLES = ("api", "consumer", "relay", "worker")


def replica_names(service: str, replicas: int) -> list[str]:
    """The first replica has the service's own name, the others a number behind it: `graph-adapter-2`."""
    return [service, *(f"{service}-{number}" for number in range(2, replicas + 1))]


def processes(service: str, replicas: int, roles: Mapping[str, int]) -> dict[str, Sequence[str]]:
    """Process to the roles it is started with; none means all.

    With `roles`, each role has processes of its own, as many as it says or one: `graph-adapter` is the API alone,
    `graph-adapter-worker-2` the second worker. The API goes with each of them: it answers for health and metrics.
    """
    if not roles:
        return dict.fromkeys(replica_names(service, replicas), ())
    return {
        name: ("api",) if role == "api" else ("api", role)
        for role in ROLES
        for name in replica_names(service if role == "api" else f"{service}-{role}", roles.get(role, 1))
    }
