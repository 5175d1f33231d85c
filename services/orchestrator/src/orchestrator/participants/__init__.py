"""Typed command endpoints of the other services: one function an operation, so that a plan reads like a runbook."""
