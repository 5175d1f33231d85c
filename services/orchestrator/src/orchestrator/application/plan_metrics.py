"""What the plan engine counts; per-tenant numbers are left to traces, so that the number of series stays bounded."""

from prometheus_client import Counter, Histogram

PLANS_ENDED = Counter("ucmesh_plans_ended", "Plans that ended, by kind and end state", ("kind", "state"))
PLAN_SECONDS = Histogram(
    "ucmesh_plan_seconds",
    "Time from a plan's creation to its end, in seconds",
    ("kind", "state"),
    buckets=(0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400),
)
TRANSITIONS = Counter("ucmesh_plan_transitions", "Plans carried on, by what moved them", ("cause",))
REPLIES_IGNORED = Counter("ucmesh_plan_replies_ignored", "Replies that fit no plan, by reason", ("reason",))
TIMERS_POSTPONED = Counter("ucmesh_plan_timers_postponed", "Due plans that could not be carried on and were put off")
