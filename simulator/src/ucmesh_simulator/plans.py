"""Service plan facts: which plan gives a mailbox, which gives a Teams feature. Owns the lookup by plan id."""

from functools import cache

from ucmesh_simulator import facts


@cache
def plan_ids(*names: str) -> frozenset[str]:
    known = facts.load("skus.json")["plans"]
    return frozenset(known[name]["id"] for name in names)


@cache
def mailbox_plans() -> frozenset[str]:
    return plan_ids(*facts.load("skus.json")["mailbox_plans"])


@cache
def feature_plans() -> dict[str, frozenset[str]]:
    """Teams feature type -> plans that carry it."""
    features: dict[str, list[str]] = facts.load("skus.json")["features"]
    return {name: plan_ids(*plans) for name, plans in features.items()}
