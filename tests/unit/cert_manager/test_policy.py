"""The policy chain, as a table: given this state of a tenant, expect this step for this reason."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from cert_manager.domain.credential import Credential, Kind, Registration, Request, State, Workload
from cert_manager.domain.policy import REGISTER, Limits, Situation, Step, decide

NOW = datetime(2026, 11, 25, 8, 0, tzinfo=UTC)
LIMITS = Limits()
REGISTRATION = Registration(
    tenant_id="t",
    customer="northwind",
    organization="northwind.onmicrosoft.com",
    client_id="client",
    application_object_id="object",
    cloud="commercial",
    key_bits=2048,
    validity_days=365,
    has_bootstrap_secret=True,
)


def credential(kind: Kind = Kind.CERTIFICATE, state: State = State.ISSUED, **changes: object) -> Credential:
    made = Credential(
        credential_id=UUID(int=1 if kind is Kind.CERTIFICATE else 2),
        tenant_id="t",
        client_id="client",
        kind=kind,
        state=state,
        thumbprint="AB" * 20 if kind is Kind.CERTIFICATE else None,
        not_before=NOW,
        not_after=NOW + timedelta(days=365),
        created_at=NOW,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def answered(purpose: str, outcome: str, *, attempt: int = 1, retryable: bool = False, ago: float = 0.0) -> Request:
    at = NOW - timedelta(seconds=ago)
    return Request(purpose, attempt, at, outcome, None if outcome == "succeeded" else "credential", "no", retryable, at)


def asked(purpose: str, *, ago: float = 0.0) -> Request:
    return Request(purpose, 1, NOW - timedelta(seconds=ago))


def requests(*made: Request) -> dict[str, Request]:
    return {request.purpose: request for request in made}


SECRET = credential(Kind.CLIENT_SECRET, State.DELIVERED)
ALL_PROBED = requests(*(answered(w, "succeeded") for w in Workload))

TABLE = {
    "a new tenant has its bootstrap secret delivered first": ([], Step.DELIVER_BOOTSTRAP),
    "then a certificate is issued": ([SECRET], Step.ISSUE),
    "an issued certificate is delivered to its receivers": ([SECRET, credential()], Step.DELIVER),
    "a delivered certificate is registered": ([SECRET, credential(state=State.DELIVERED)], Step.REGISTER),
    "while the registration is under way nothing is sent again": (
        [SECRET, credential(state=State.DELIVERED, requests=requests(asked(REGISTER, ago=10)))],
        Step.WAIT,
    ),
    "a registration that nobody answered is sent again": (
        [SECRET, credential(state=State.DELIVERED, requests=requests(asked(REGISTER, ago=181)))],
        Step.REGISTER,
    ),
    "a retryable no is waited out": (
        [SECRET, credential(state=State.DELIVERED, requests=requests(answered(REGISTER, "failed", retryable=True)))],
        Step.WAIT,
    ),
    "and then tried again": (
        [
            SECRET,
            credential(state=State.DELIVERED, requests=requests(answered(REGISTER, "failed", retryable=True, ago=3))),
        ],
        Step.REGISTER,
    ),
    "a refused registration fails the certificate": (
        [SECRET, credential(state=State.DELIVERED, requests=requests(answered(REGISTER, "refused")))],
        Step.FAIL,
    ),
    "an answered registration moves the certificate on": (
        [SECRET, credential(state=State.DELIVERED, requests=requests(answered(REGISTER, "succeeded")))],
        Step.MARK_REGISTERED,
    ),
    "a registered certificate is tried on every workload": (
        [SECRET, credential(state=State.REGISTERED)],
        Step.PROBE,
    ),
    "a log-in refused because the key is still unknown is waited out": (
        [
            SECRET,
            credential(state=State.REGISTERED, requests=requests(*(answered(w, "refused") for w in Workload))),
        ],
        Step.WAIT,
    ),
    "a log-in that is refused past the deadline fails the certificate": (
        [
            SECRET,
            credential(
                state=State.REGISTERED,
                created_at=NOW - timedelta(seconds=901),
                requests=requests(*(answered(w, "refused") for w in Workload)),
            ),
        ],
        Step.FAIL,
    ),
    "when every workload accepted it, it becomes active": (
        [SECRET, credential(state=State.REGISTERED, requests=ALL_PROBED)],
        Step.ACTIVATE,
    ),
    "an active certificate needs nothing": ([SECRET, credential(state=State.ACTIVE)], Step.NOTHING),
    "a failed certificate is replaced by a new one": ([SECRET, credential(state=State.FAILED)], Step.ISSUE),
    "a certificate of another app registration does not count": (
        [SECRET, credential(state=State.ACTIVE, client_id="former")],
        Step.ISSUE,
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_policy(name: str) -> None:
    credentials, expected = TABLE[name]
    assert decide(Situation(REGISTRATION, credentials, NOW, LIMITS)).step is expected


def test_only_the_workloads_that_have_not_accepted_it_are_tried_again() -> None:
    certificate = credential(
        state=State.REGISTERED,
        requests=requests(answered(Workload.GRAPH, "succeeded"), answered(Workload.TEAMS, "refused", ago=5)),
    )
    verdict = decide(Situation(REGISTRATION, [SECRET, certificate], NOW, LIMITS))
    assert verdict.step is Step.PROBE
    assert set(verdict.workloads) == {Workload.EXCHANGE, Workload.TEAMS}


def test_the_registration_logs_in_with_the_bootstrap_secret() -> None:
    verdict = decide(Situation(REGISTRATION, [SECRET, credential(state=State.DELIVERED)], NOW, LIMITS))
    assert verdict.bootstrap == SECRET


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 2), (2, 4), (3, 8), (10, 60)])
def test_pauses_between_log_ins_grow_to_a_cap(attempt: int, seconds: int) -> None:
    made = requests(*(answered(w, "refused", attempt=attempt) for w in Workload))
    verdict = decide(Situation(REGISTRATION, [SECRET, credential(state=State.REGISTERED, requests=made)], NOW, LIMITS))
    assert verdict.due_at == NOW + timedelta(seconds=seconds)


class TestWithoutABootstrapSecret:
    """An admin uploads the public part by hand; the log-in on Graph shows when that has happened."""

    registration = replace(REGISTRATION, has_bootstrap_secret=False)

    def step(self, certificate: Credential) -> Step:
        return decide(Situation(self.registration, [certificate], NOW, LIMITS)).step

    def test_log_ins_are_tried_until_the_upload_is_seen(self) -> None:
        assert self.step(credential(state=State.DELIVERED)) is Step.PROBE

    def test_a_day_of_waiting_is_no_failure(self) -> None:
        refused = requests(answered(Workload.GRAPH, "refused", attempt=500))
        certificate = credential(state=State.DELIVERED, created_at=NOW - timedelta(days=1), requests=refused)
        assert self.step(certificate) is Step.WAIT

    def test_the_first_accepted_log_in_counts_as_registered(self) -> None:
        accepted = requests(answered(Workload.GRAPH, "succeeded"))
        assert self.step(credential(state=State.DELIVERED, requests=accepted)) is Step.MARK_REGISTERED
