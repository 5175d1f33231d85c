"""The arithmetic of scale beyond one machine: no servers, no clock, the same seed gives the same figures.

Owns skewed tenants, keys on partitions, partitions and shards on replicas, and turns of tenants at workers, each
decided by the code that decides it in production (Kafka's partitioner and assignor, graph-adapter's fairness).
"""
