"""The joiner demo: the whole mesh, two customers, their HR feeds, and what became of everybody."""

from ucmesh_embedded.demo.run import main

__all__ = ["main"]
