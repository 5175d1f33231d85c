"""Alembic's entry point; the lock around it is in mesh_runtime.migrations."""

from mesh_runtime.migrations import run_env

run_env()
