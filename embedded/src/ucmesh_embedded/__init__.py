"""The embedded stack: real PostgreSQL, real Apache Kafka, a development issuer, traces and the services, from wheels.

Owns: how the parts are had, started, watched and ended on one machine. Refuses: any business rule; nothing in
`libs/` or `services/` imports this package.
"""
