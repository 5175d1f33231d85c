"""Decisions and values of the orchestrator; imports no framework and does no IO."""
