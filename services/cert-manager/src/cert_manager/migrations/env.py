"""Alembic's entry; everything is in mesh_runtime."""

from mesh_runtime.migrations import run_env

run_env()
