"""Runs the revisions on the connection that holds the migration lock (`python -m orchestrator migrate`)."""

from mesh_runtime.migrations import run_env

run_env()
