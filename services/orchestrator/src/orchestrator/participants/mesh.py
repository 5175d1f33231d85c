"""Operations the orchestrator answers itself (target "mesh"): waiting for another person.

Owns their names and parameters. Refuses side effects: a local operation only looks.
"""

from dataclasses import replace

from orchestrator.domain.plan import Operation
from orchestrator.domain.retry import Wait

AWAIT_PERSON = "person.await-provisioned"


def await_person(customer: str, employee_id: str, wait: Wait, deadline_seconds: int) -> Operation:
    """Until the person has a proven user, at most `deadline_seconds`; then the plan goes on without.

    The subject is how a settled plan of that person wakes this wait.
    """
    return Operation(
        key="await-manager",
        target="mesh",
        name=AWAIT_PERSON,
        params={"customer": customer, "employee_id": employee_id},
        subject=f"{customer}:{employee_id}",
        title=f"Wait for manager {employee_id}",
        failure="continue",
        wait=replace(wait, deadline_seconds=max(deadline_seconds, 1)),
    )
