"""Alembic's environment: the runtime holds the lock and the connection."""

from mesh_runtime.migrations import run_env

run_env()
