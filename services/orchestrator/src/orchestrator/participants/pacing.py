"""How patient a plan is with Microsoft: retries, gates and read-backs, in one place.

Owns the numbers. The defaults follow what Microsoft documents (microsoft.md 2.13, 2.14, 3.3, 3.4); `scaled` shrinks all
of them for a simulated tenant. Refuses to be per customer: what differs by tenant is learned by the engine.
"""

from dataclasses import dataclass, replace

from orchestrator.domain.retry import Retry, Wait

VISIBLE = Retry(attempts_max=7, first_seconds=2, factor=2, cap_seconds=30)
POLICY = Retry(attempts_max=8, first_seconds=15, factor=1.6, cap_seconds=180)
PROOF = Retry(attempts_max=10, first_seconds=2, factor=1.8, cap_seconds=60)
MAILBOX = Wait(first_seconds=10, factor=1.5, cap_seconds=300, deadline_seconds=86_400, gate="licence.mailbox")
TEAMS = Wait(first_seconds=10, factor=1.5, cap_seconds=300, deadline_seconds=86_400, gate="licence.teams")
MANAGER = Wait(first_seconds=5, factor=2, cap_seconds=900)


@dataclass(frozen=True, slots=True)
class Pacing:
    """`visible`: a new object may be unknown to other replicas for a while. `policy`: a new policy needs minutes."""

    visible: Retry = VISIBLE
    policy: Retry = POLICY
    proof: Retry = PROOF
    mailbox: Wait = MAILBOX
    teams: Wait = TEAMS
    manager: Wait = MANAGER


def scaled(pacing: Pacing, factor: float) -> Pacing:
    """Every pause and deadline times `factor`; counts stay. The deadline of waiting for a manager is the customer's."""
    if not 0 < factor <= 1:
        raise ValueError("the factor must be above 0 and at most 1")
    manager = replace(
        pacing.manager,
        first_seconds=pacing.manager.first_seconds * factor,
        cap_seconds=pacing.manager.cap_seconds * factor,
    )
    return Pacing(
        visible=_retry(pacing.visible, factor),
        policy=_retry(pacing.policy, factor),
        proof=_retry(pacing.proof, factor),
        mailbox=_wait(pacing.mailbox, factor),
        teams=_wait(pacing.teams, factor),
        manager=manager,
    )


def _retry(retry: Retry, factor: float) -> Retry:
    return replace(retry, first_seconds=retry.first_seconds * factor, cap_seconds=retry.cap_seconds * factor)


def _wait(wait: Wait, factor: float) -> Wait:
    return replace(
        wait,
        first_seconds=wait.first_seconds * factor,
        cap_seconds=wait.cap_seconds * factor,
        deadline_seconds=wait.deadline_seconds * factor,
    )
