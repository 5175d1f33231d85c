"""Service defaults: settings, logs, telemetry, health, database, auth, sealing, clock, errors."""
