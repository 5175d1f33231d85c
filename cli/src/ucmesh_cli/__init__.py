"""The ucmesh command."""
