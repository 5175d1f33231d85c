"""What to do next for one tenant: an ordered chain of pure checks, each with a named reason.

Level-triggered: the chain looks at the whole state each time and names one action, so a restart, a repeated reply or a
missed wake-up cannot leave a tenant between two steps. Order of the steps:

    bootstrap secret delivered -> certificate issued -> delivered -> public part registered -> canary log-ins -> active
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cert_manager.domain.credential import Credential, Kind, Registration, Request, State, Workload

REGISTER = "register"
"""Purpose of the request that has the public part added to the app registration."""


class Step(StrEnum):
    """The action of a verdict."""

    DELIVER_BOOTSTRAP = "deliver-bootstrap"
    ISSUE = "issue"
    DELIVER = "deliver"
    REGISTER = "register"
    MARK_REGISTERED = "mark-registered"
    PROBE = "probe"
    ACTIVATE = "activate"
    FAIL = "fail"
    WAIT = "wait"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One action and why. ``due_at`` is when to look again for WAIT; ``bootstrap`` is what REGISTER logs in with."""

    step: Step
    reason: str
    credential: Credential | None = None
    bootstrap: Credential | None = None
    workloads: tuple[Workload, ...] = ()
    due_at: datetime | None = None
    message: str | None = None
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient the canary log-ins are: a new key needs minutes to reach every token server."""

    retry_first_seconds: float = 2.0
    retry_cap_seconds: float = 60.0
    reply_timeout_seconds: float = 180.0
    verify_deadline_seconds: float = 900.0
    manual_deadline_seconds: float = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything the chain may look at."""

    registration: Registration
    credentials: Sequence[Credential]
    now: datetime
    limits: Limits

    def bootstrap(self) -> Credential | None:
        """The delivered bootstrap secret of today's app registration."""
        return self._newest(Kind.CLIENT_SECRET)

    def certificate(self) -> Credential | None:
        """The newest certificate of today's app registration that did not fail."""
        return self._newest(Kind.CERTIFICATE)

    def _newest(self, kind: Kind) -> Credential | None:
        fitting = [
            c
            for c in self.credentials
            if c.kind is kind and c.client_id == self.registration.client_id and c.state is not State.FAILED
        ]
        return max(fitting, key=lambda c: c.created_at, default=None)


Check = Callable[[Situation], Verdict | None]


def decide(situation: Situation) -> Verdict:
    """The first verdict of the chain; the last check always has one."""
    for check in CHAIN:
        verdict = check(situation)
        if verdict is not None:
            return verdict
    return Verdict(Step.NOTHING, "certificate-active")


def bootstrap_not_delivered(at: Situation) -> Verdict | None:
    """The customer gave a first secret and graph-adapter does not hold it yet."""
    certificate = at.certificate()
    needed = certificate is None or certificate.state in (State.ISSUED, State.DELIVERED)
    if at.registration.has_bootstrap_secret and needed and at.bootstrap() is None:
        return Verdict(Step.DELIVER_BOOTSTRAP, "bootstrap-secret-not-delivered")
    return None


def no_certificate(at: Situation) -> Verdict | None:
    """There is no certificate for this app registration, or only failed ones."""
    return Verdict(Step.ISSUE, "no-certificate") if at.certificate() is None else None


def not_delivered(at: Situation) -> Verdict | None:
    """The certificate exists but its receivers do not hold it."""
    certificate = at.certificate()
    if certificate is not None and certificate.state is State.ISSUED:
        return Verdict(Step.DELIVER, "certificate-not-delivered", certificate)
    return None


def not_registered(at: Situation) -> Verdict | None:
    """The app registration does not hold the public part: have it added, or wait for an admin to upload it."""
    certificate = at.certificate()
    if certificate is None or certificate.state is not State.DELIVERED:
        return None
    if not at.registration.has_bootstrap_secret:
        return _probe(at, certificate, (Workload.GRAPH,), at.limits.manual_deadline_seconds, "awaiting-manual-upload")
    request = certificate.requests.get(REGISTER)
    if request is not None and request.outcome == "succeeded":
        return Verdict(Step.MARK_REGISTERED, "public-part-registered", certificate)
    return _ask(
        at, certificate, request, Verdict(Step.REGISTER, "public-part-not-registered", certificate, at.bootstrap())
    )


def not_verified(at: Situation) -> Verdict | None:
    """Every workload must accept a log-in with the certificate before anything uses it."""
    certificate = at.certificate()
    if certificate is None or certificate.state is not State.REGISTERED:
        return None
    return _probe(at, certificate, tuple(Workload), at.limits.verify_deadline_seconds, "canary-log-in-pending")


def verified_not_active(at: Situation) -> Verdict | None:
    """Every workload accepted the certificate."""
    certificate = at.certificate()
    if certificate is not None and certificate.state is State.REGISTERED:
        return Verdict(Step.ACTIVATE, "canary-log-ins-succeeded", certificate)
    return None


CHAIN: tuple[Check, ...] = (
    bootstrap_not_delivered,
    no_certificate,
    not_delivered,
    not_registered,
    not_verified,
    verified_not_active,
)


def _probe(
    at: Situation, certificate: Credential, workloads: Sequence[Workload], deadline_seconds: float, reason: str
) -> Verdict | None:
    open_workloads = [w for w in workloads if not _succeeded(certificate.requests.get(w))]
    if not open_workloads:
        return None if certificate.state is State.REGISTERED else Verdict(Step.MARK_REGISTERED, reason, certificate)
    latest: list[datetime] = []
    ask: list[Workload] = []
    for workload in open_workloads:
        request = certificate.requests.get(workload)
        if request is not None and request.outcome is not None and _past(at, certificate, deadline_seconds):
            return _failed(certificate, f"{workload}-log-in-refused", request)
        due = _due(at, request)
        if due is None or due <= at.now:
            ask.append(workload)
        else:
            latest.append(due)
    if ask:
        return Verdict(Step.PROBE, reason, certificate, workloads=tuple(ask))
    return Verdict(Step.WAIT, reason, certificate, due_at=min(latest))


def _ask(at: Situation, certificate: Credential, request: Request | None, ask: Verdict) -> Verdict:
    hopeless = _past(at, certificate, at.limits.verify_deadline_seconds) or not (request and request.retryable)
    if request is not None and request.outcome is not None and hopeless:
        return _failed(certificate, "registration-refused", request)
    due = _due(at, request)
    if due is None or due <= at.now:
        return ask
    return Verdict(Step.WAIT, ask.reason, certificate, due_at=due)


def _due(at: Situation, request: Request | None) -> datetime | None:
    """When to send (again): at once, after a growing pause behind a no, or when the reply is long overdue."""
    if request is None:
        return None
    if request.answered_at is None:
        return request.sent_at + timedelta(seconds=at.limits.reply_timeout_seconds)
    pause = at.limits.retry_first_seconds * 2.0 ** (request.attempt - 1)
    return request.answered_at + timedelta(seconds=min(pause, at.limits.retry_cap_seconds))


def _past(at: Situation, certificate: Credential, seconds: float) -> bool:
    return at.now - certificate.created_at > timedelta(seconds=seconds)


def _succeeded(request: Request | None) -> bool:
    return request is not None and request.outcome == "succeeded"


def _failed(certificate: Credential, reason: str, request: Request) -> Verdict:
    return Verdict(
        Step.FAIL,
        reason,
        certificate,
        message=request.message or request.code or "no reason was given",
        remedy=REMEDIES.get(request.code or "", "Correct the cause, then apply the customer again."),
    )


REMEDIES = {
    "credential": "Create a new client secret in the app registration, or upload the public part, and apply the "
    "customer again.",
    "permission-missing": "Grant the app registration the permission named in the message, and apply the customer "
    "again.",
}
