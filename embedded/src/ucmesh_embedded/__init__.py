"""The embedded stack: real PostgreSQL, real Apache Kafka and the services, started from wheels."""
