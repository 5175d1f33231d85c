"""CloudEvents on Apache Kafka with inbox, outbox, relay, retry ladder and dead letters."""
