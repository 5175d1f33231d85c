"""Both back ends: every test below runs on the simulated host and on a real PowerShell."""

from support.gateway_backends import gateway, simulator, tenant, user, way

__all__ = ["gateway", "simulator", "tenant", "user", "way"]
