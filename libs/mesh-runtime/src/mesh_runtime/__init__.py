"""What every ucmesh service needs to run: errors, clock, settings, logs, telemetry, database, access, sealing and
roles.

Owns technical capabilities only. Refuses business nouns: nothing here knows what a person, a licence or a plan is.
"""
