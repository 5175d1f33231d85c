"""A plan has ended: make its reservations final or give them back, and note where its person stands (the engine's
Settlement).

What counts is what is in place in the tenant, operation by operation, whatever the plan's state is called:

    number assigned            -> used            licences assigned -> seats consumed      user there -> name used
    not, and nothing can come  -> back to the pool
    not, but the plan is held  -> stays promised, the plan may still be tried again or cancelled
    a number Teams refuses     -> set aside, so that the next try and the next person get another one
    the person has another one -> that one is theirs: what the tenant has wins, and the plan is made anew around it
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.application.rules import Rules
from orchestrator.application.start_people import start_again
from orchestrator.domain.numbers import SET_ASIDE
from orchestrator.domain.people import CANCELLED, COMPENSATED, HELD, PROVISIONED, REFUSED
from orchestrator.domain.plan import OperationState, PlanState
from orchestrator.domain.ports import SettledOperation, SettledPlan
from orchestrator.domain.stores import HeldNumber, Settled

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

STATUS = {
    PlanState.SUCCEEDED: PROVISIONED,
    PlanState.REFUSED: REFUSED,
    PlanState.COMPENSATED: COMPENSATED,
    PlanState.HELD: HELD,
    PlanState.CANCELLED: CANCELLED,
}
USER, LICENCES, NUMBER = "user", "licences", "number"
PROOFS = {"entra": "verify-entra", "exchange": "verify-exchange", "teams": "verify-teams"}
OTHER_NUMBER = "other-number-assigned"
# Refusals by Microsoft that say our count of the tenant's seats is old.
MISCOUNTED = frozenset({"no-seats"})


class SettlePlans:
    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    async def settle(self, tx: "AsyncConnection", settled: Sequence[SettledPlan]) -> None:
        """Idempotent: the last end of a plan counts."""
        rules, now = self._rules, self._rules.clock.now()
        outcomes = [(plan, _last(plan.operations)) for plan in settled]
        held = {plan.plan_id: found for plan, steps in outcomes if (found := _held_number(plan, steps.get(NUMBER)))}
        adopted = await rules.ledgers.adopt_numbers(tx, held, now)
        settling = [_settled(plan, steps, again=plan.plan_id in adopted) for plan, steps in outcomes]
        people = await rules.people.settle(tx, settling, now)
        await rules.ledgers.use(
            tx,
            names={plan.plan_id for plan, steps in outcomes if _user_stays(plan, steps)},
            numbers={plan.plan_id for plan, steps in outcomes if _in_place(steps.get(NUMBER))},
            seats={plan.plan_id for plan, steps in outcomes if _in_place(steps.get(LICENCES))},
            now=now,
        )
        refused = {p.plan_id: p.reason for p in settled if p.reason is not None and p.reason.code in SET_ASIDE}
        await rules.ledgers.set_aside(tx, {i: (SET_ASIDE[r.code], r.message) for i, r in refused.items()}, now)
        await rules.ledgers.release(tx, {plan.plan_id for plan in settled if plan.state is not PlanState.HELD}, now)
        miscounted = {p.tenant_id for p in settled if p.reason is not None and p.reason.code in MISCOUNTED}
        await rules.tenants.observe_soon(tx, miscounted, now)
        await start_again(rules, tx, people)


def _last(operations: Sequence[SettledOperation]) -> dict[str, SettledOperation]:
    """By key; a later round overrules an earlier one."""
    return {operation.key: operation for operation in operations}


def _in_place(operation: SettledOperation | None) -> bool:
    return operation is not None and (operation.state is OperationState.SUCCEEDED or operation.changed)


def _user_stays(plan: SettledPlan, steps: Mapping[str, SettledOperation]) -> bool:
    """The name is in use when the user was there before, or was made and not undone."""
    return bool(plan.observed.get("user")) or _in_place(steps.get(USER)) or plan.state is PlanState.SUCCEEDED


def _held_number(plan: SettledPlan, step: SettledOperation | None) -> HeldNumber | None:
    """The number that Teams says the person has, where it refused the one that was promised for that reason."""
    error = (step.error if step is not None else None) or {}
    if error.get("code") != OTHER_NUMBER or plan.state is PlanState.HELD:
        return None
    uri = str((error.get("detail") or {}).get("value") or "")
    return HeldNumber(plan.person_id, plan.customer, uri.lower().removeprefix("tel:").partition(";")[0])


def _settled(plan: SettledPlan, steps: Mapping[str, SettledOperation], *, again: bool) -> Settled:
    done = plan.state is PlanState.SUCCEEDED
    return Settled(
        person_id=plan.person_id,
        plan_id=plan.plan_id,
        status=STATUS[plan.state],
        refusal=None if done else plan.reason,
        user_id=_user_id(plan, steps) if done else None,
        proved=done,
        observed=_observed(plan, steps),
        again=again,
    )


def _user_id(plan: SettledPlan, steps: Mapping[str, SettledOperation]) -> str | None:
    made = steps.get(USER)
    if made is not None and made.output.get("user_id"):
        return str(made.output["user_id"])
    user = plan.observed.get("user")
    return str(user["id"]) if user else None


def _observed(plan: SettledPlan, steps: Mapping[str, SettledOperation]) -> dict[str, Any] | None:
    """The newest read of each workload: the proofs of this plan, else what planning saw."""
    reads = {
        workload: dict(steps[key].output)
        for workload, key in PROOFS.items()
        if key in steps and steps[key].output and steps[key].state is not OperationState.SKIPPED
    }
    if plan.observed and "entra" not in reads:
        reads["entra"] = dict(plan.observed)
    user = (reads.get("entra") or {}).get("user")
    if user:
        # A list of some eighty service plans that nothing compares.
        reads["entra"]["user"] = {name: value for name, value in user.items() if name != "assignedPlans"}
    return reads or None
