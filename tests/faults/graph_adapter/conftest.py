"""The fixtures are shared with the other tests of this service."""

from support.graph_fixtures import idle_rig, rig, simulator, tenant

__all__ = ["idle_rig", "rig", "simulator", "tenant"]
