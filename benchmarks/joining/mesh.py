"""The mesh's side: a customer is registered, HR's events are sent, every plan ends proven, and what it cost.

Owns the load and the waiting, all through public doors. What a plan's operations are is read from the plans, not
assumed. Any plan that does not succeed is an error: a benchmark of failures is none.
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from joining import office
from joining.meters import Meters, Stretch
from ucmesh_cli.api import Api

BATCH_TYPE = "application/cloudevents-batch+json"
BATCH_SIZE = 500
POLL_SECONDS = 0.1
READY_SECONDS_MAX = 120.0
READY_SECONDS_EACH = 10.0
DONE_SECONDS_MAX = 900.0
PLANS_MAX = 1_000_000
UNFINISHED = ("observing", "running", "compensating")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshRun(Stretch):
    """The mesh's: `seconds` by the plans' own times."""

    operations: tuple[str, ...]
    """Operation names of one joiner's plan, in order; all plans of the run have the same."""

    @property
    def operations_per_second(self) -> float:
        return self.joiners_per_second * len(self.operations)


class Mesh:
    """The running mesh, seen through its API. Calls block: use from a thread; they end early once `over` is set."""

    def __init__(self, api: Api, over: threading.Event) -> None:
        self._api, self._over = api, over

    def register(self, tenants: Sequence[office.Tenant]) -> None:
        """Apply the customers and wait until each tenant has a working certificate and was read."""
        for tenant in tenants:
            self._api.put("orchestrator", f"/customers/{tenant.name}", office.customer_document(tenant))
        deadline = time.monotonic() + READY_SECONDS_MAX + READY_SECONDS_EACH * len(tenants)
        for tenant in tenants:
            while True:
                state = self._api.get("orchestrator", f"/tenants/{tenant.tenant_id}")
                if state["state"] == "failed":
                    raise RuntimeError(f"the tenant failed: {state['reason']}")
                if state["state"] == "ready" and state["observed_at"]:
                    break
                self._rest(deadline, f"the tenant did not get ready: {state}")

    def join(self, people: Sequence[Mapping[str, Any]], tenant: office.Tenant = office.MESH_TENANT) -> float:
        """Send everybody and wait until no plan is under way; the moment (epoch) of the first request."""
        began = self.send(people, tenant)
        self.until_idle()
        return began

    def send(self, people: Sequence[Mapping[str, Any]], tenant: office.Tenant = office.MESH_TENANT) -> float:
        """All are taken in; the moment (epoch) of the first request. RuntimeError for one that is not."""
        bodies = [
            orjson.dumps([office.hr_event(each, tenant) for each in people[start : start + BATCH_SIZE]])
            for start in range(0, len(people), BATCH_SIZE)
        ]
        began = time.time()
        for body in bodies:
            answer = self._api.send("orchestrator", "/hr/events", body, BATCH_TYPE)
            statuses = Counter(result["status"] for result in answer["results"])
            if set(statuses) != {"accepted"}:
                raise RuntimeError(f"events were not accepted: {dict(statuses)}")
        return began

    def until_idle(self) -> None:
        """Until no plan is under way."""
        deadline = time.monotonic() + DONE_SECONDS_MAX
        while self._under_way():
            self._rest(deadline, f"plans did not end within {DONE_SECONDS_MAX:.0f} s")

    def _rest(self, deadline: float, complaint: str) -> None:
        if time.monotonic() > deadline:
            raise RuntimeError(complaint)
        if self._over.wait(POLL_SECONDS):
            raise RuntimeError("given up")

    def _under_way(self) -> bool:
        """One row at most is read for each state."""
        return any(self._api.get("orchestrator", "/plans", state=state, limit=1)["items"] for state in UNFINISHED)

    def ended(
        self, people: Sequence[Mapping[str, Any]], tenant: office.Tenant = office.MESH_TENANT
    ) -> tuple[float, tuple[str, ...]]:
        """When the last plan of these people ended (epoch), and their operations. RuntimeError for any but success."""
        plans = list(self.plans(people, tenant).values())
        sizes = {plan["operations"]["total"] for plan in plans}
        if len(sizes) != 1:
            raise RuntimeError(f"plans differ in their number of operations: {sorted(sizes)}")
        rows = self._api.get("orchestrator", f"/plans/{plans[0]['plan_id']}/operations")
        return max(epoch(plan["finished_at"]) for plan in plans), tuple(row["operation"] for row in rows)

    def plans(
        self, people: Sequence[Mapping[str, Any]], tenant: office.Tenant = office.MESH_TENANT
    ) -> dict[str, dict[str, Any]]:
        """The plans of these people by employee id. RuntimeError when not all have succeeded."""
        wanted = {each["employee_id"] for each in people}
        pages = self._api.pages("orchestrator", "/plans", most=PLANS_MAX, customer=tenant.name)
        plans = {plan["employee_id"]: plan for plan in pages if plan["employee_id"] in wanted}
        states = Counter(plan["state"] for plan in plans.values())
        if states != {"succeeded": len(people)}:
            reasons = Counter((plan["reason"] or {}).get("code") for plan in plans.values())
            raise RuntimeError(f"of {len(people)} plans not all succeeded: {dict(states)}, because of {dict(reasons)}")
        return plans


async def run(mesh: Mesh, people: Sequence[Mapping[str, Any]], meters: Meters) -> MeshRun:
    """The measured stretch."""
    before = await meters.begin()
    began = await asyncio.to_thread(mesh.join, people)
    after = await meters.read()
    ended, operations = await asyncio.to_thread(mesh.ended, people)
    return MeshRun(joiners=len(people), seconds=ended - began, operations=operations, cost=after.since(before))


def epoch(moment: str) -> float:
    """Seconds since the epoch of a time of the API."""
    return datetime.fromisoformat(moment).timestamp()
