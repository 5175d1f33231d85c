"""What stands in for the rules and the adapters: a joiner's shape, decided and answered at no cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from orchestrator.domain.plan import Operation, Plan, PlanBuilder, ref
from orchestrator.domain.plan_status import Reply
from orchestrator.domain.ports import (
    LocalRequest,
    LocalResult,
    Observation,
    ObservationRequest,
    PlanningRequest,
    SettledPlan,
)

TENANT = "8d2f6c1e-3b7a-4c55-9f1e-2a6d0c4b7e11"
OBSERVE = Operation("observe", "graph", "user.observe", {}, "zoe.mueller@northwind.example")


def joiner() -> list[Operation]:
    """user -> licence, group, manager; licence -> mailbox, number, two policies; a proof of all."""
    user = ref("user", "id")

    def step(key: str, *needs: str, target: Any = "graph", **fields: Any) -> Operation:
        params = {"user_id": user} if needs else {"attributes": {"displayName": "Zoë Müller", "usageLocation": "CH"}}
        return Operation(
            key, target, f"bench.{key}", params, "zoe.mueller@northwind.example", key, depends_on=needs, **fields
        )

    return [
        step("user"),
        step("licence", "user"),
        step("group", "user"),
        step("manager", "user", failure="continue"),
        step("mailbox", "licence", target="pwsh"),
        step("number", "licence", target="pwsh"),
        step("policy", "licence", target="pwsh"),
        step("proof", "group", "manager", "mailbox", "number", "policy", expect={"id": user}),
    ]


OPERATIONS = joiner()


def plan_of(request: PlanningRequest) -> Plan:
    builder = PlanBuilder(
        plan_id=request.plan_id,
        customer="northwind",
        tenant_id=TENANT,
        employee_id="NW-1",
        person_id=request.person_id,
    )
    builder.add_all(OPERATIONS)
    return builder.build()


class Rules:
    """The rules' side at no cost."""

    async def build(self, _tx: Any, requests: Sequence[PlanningRequest]) -> Mapping[UUID, Plan]:
        return {request.plan_id: plan_of(request) for request in requests}

    async def observe(self, _tx: Any, _requests: Sequence[ObservationRequest]) -> Mapping[UUID, Observation]:
        return {}

    async def settle(self, _tx: Any, _settled: Sequence[SettledPlan]) -> None:
        return None

    async def resolve(self, _tx: Any, _requests: Sequence[LocalRequest]) -> Mapping[UUID, LocalResult]:
        return {}

    async def take(self, _tx: Any, _replies: Sequence[Reply]) -> None:
        return None


def answer(operation_id: UUID, plan_id: UUID, name: str) -> Reply:
    undo = {"operation": f"undo.{name}", "version": 1, "params": {"user_id": "u"}}
    output = {"id": "b7d9a0e2-9c1d-4a7b-8c56-1d2e3f405162"}
    return Reply(
        operation_id, plan_id, TENANT, name, "succeeded", changed=True, output=output, undo=undo, request_ids=("r",)
    )
