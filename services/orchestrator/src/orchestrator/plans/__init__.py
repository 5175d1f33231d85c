"""One file a lifecycle, each readable by an admin as a runbook."""
