"""What messaging counts, as Prometheus metrics.

Owns the names and labels. Labels are bounded: consumer and topic names, event types a handler is registered for, codes.
"""

from prometheus_client import Counter, Gauge, Histogram

OUTBOX_DEPTH = Gauge("ucmesh_outbox_depth", "Messages waiting in the outbox of this database")
OUTBOX_AGE = Gauge("ucmesh_outbox_age_seconds", "Age of the oldest message waiting in the outbox")
RELAY_SENT = Counter("ucmesh_relay_sent_total", "Messages acknowledged by Apache Kafka", ["topic"])
RELAY_FAILED = Counter("ucmesh_relay_failed_total", "Sends that failed and will be repeated, in batches", ["topic"])
RELAY_SHARDS = Gauge("ucmesh_relay_shards", "Outbox shards this process holds the lease of")

HANDLED = Counter("ucmesh_consumer_handled_total", "Messages handled and committed", ["consumer", "type"])
DUPLICATE = Counter("ucmesh_consumer_duplicate_total", "Deliveries of messages taken over before", ["consumer"])
SKIPPED = Counter("ucmesh_consumer_skipped_total", "Messages of a type without a handler", ["consumer"])
FAILED = Counter("ucmesh_consumer_failed_total", "Failed attempts, by single message or by batch", ["consumer", "code"])
PARKED = Counter("ucmesh_consumer_parked_total", "Messages put on the retry ladder, or behind one there", ["consumer"])
PARKED_NOW = Gauge("ucmesh_consumer_parked_now", "Messages on the retry ladder now", ["consumer"])
DEAD_LETTERED = Counter("ucmesh_consumer_dead_lettered_total", "Messages given up", ["consumer", "code"])
LAG = Gauge("ucmesh_consumer_lag", "Records of the partition not handled yet", ["consumer", "topic", "partition"])
BATCH_SIZE = Histogram(
    "ucmesh_consumer_batch_size", "Messages of one poll", ["consumer"], buckets=(1, 5, 20, 100, 500, 1000, 5000)
)
BATCH_SECONDS = Histogram("ucmesh_consumer_batch_seconds", "From poll to commit of one batch", ["consumer"])
