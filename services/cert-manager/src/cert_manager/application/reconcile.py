"""Bring one tenant a step nearer to a working certificate, until it waits for somebody or is done.

Each step is one transaction that locks the tenant, decides by the policy chain and acts. A key pair takes too long
to make for an open transaction: it is made before the step that stores it, which decides again under the lock.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import orjson

from cert_manager.domain import policy
from cert_manager.domain.credential import (
    Credential,
    Kind,
    Registration,
    Request,
    State,
    Workload,
    bootstrap_context,
    credential_context,
)
from cert_manager.domain.policy import Limits, Situation, Step, Verdict
from cert_manager.domain.ports import Issued, Issuer, Outgoing, Unit, Units, Vault
from mesh_runtime import faults
from mesh_runtime.clock import Clock, IdGenerator
from mesh_runtime.logs import get_logger

STEPS_MAX = 20
BEFORE_STEP = faults.declare("cert.before_step", "a verdict is about to be decided and carried out in one transaction")
AFTER_ISSUE = faults.declare("cert.after_issue", "a key pair was made and is not stored yet")

GRAPH_ADAPTER = "graph-adapter"
PWSH_GATEWAY = "pwsh-gateway"

log = get_logger("cert_manager.reconcile")


class Reconcile:
    """One tenant at a time; safe to run for the same tenant in several replicas."""

    def __init__(
        self, units: Units, issuer: Issuer, vault: Vault, *, clock: Clock, ids: IdGenerator, limits: Limits
    ) -> None:
        self._units, self._issuer, self._vault = units, issuer, vault
        self._clock, self._ids, self._limits = clock, ids, limits
        self._actions: dict[Step, Callable[[Unit, Registration, Verdict], Awaitable[None]]] = {
            Step.DELIVER_BOOTSTRAP: self._deliver_bootstrap,
            Step.DELIVER: self._deliver,
            Step.REGISTER: self._register,
            Step.MARK_REGISTERED: self._mark_registered,
            Step.PROBE: self._probe,
            Step.ACTIVATE: self._activate,
            Step.FAIL: self._fail,
        }

    async def __call__(self, tenant_id: str) -> None:
        """Steps until the tenant waits or needs nothing; bounded, so a loop in the policy cannot spin for ever."""
        issued: Issued | None = None
        for _ in range(STEPS_MAX):
            faults.fault_point(BEFORE_STEP)
            verdict, registration = await self._step(tenant_id, issued)
            if verdict is None or registration is None or verdict.step in (Step.WAIT, Step.NOTHING, Step.FAIL):
                return
            issued = await self._issue(registration) if verdict.step is Step.ISSUE and issued is None else None

    async def _step(self, tenant_id: str, issued: Issued | None) -> tuple[Verdict | None, Registration | None]:
        async with self._units.begin() as unit:
            found = await unit.situation(tenant_id)
            if found is None:
                return None, None
            registration, credentials = found
            now = self._clock.now()
            verdict = policy.decide(Situation(registration, credentials, now, self._limits))
            log.info("cert.verdict", tenant_id=tenant_id, step=verdict.step, reason=verdict.reason)
            if verdict.step is Step.ISSUE:
                if issued is not None:
                    await self._store(unit, registration, issued)
            elif action := self._actions.get(verdict.step):
                await action(unit, registration, verdict)
            if verdict.step in (Step.WAIT, Step.NOTHING, Step.FAIL):
                await unit.wake(tenant_id, verdict.due_at)
            return verdict, registration

    async def _issue(self, registration: Registration) -> Issued:
        now = self._clock.now()
        issued = await self._issuer.issue(
            common_name=f"ucmesh {registration.organization} {now:%Y-%m}",
            key_bits=registration.key_bits,
            validity_days=registration.validity_days,
            now=now,
        )
        faults.fault_point(AFTER_ISSUE)
        return issued

    async def _store(self, unit: Unit, registration: Registration, issued: Issued) -> None:
        credential = Credential(
            credential_id=self._ids.new(),
            tenant_id=registration.tenant_id,
            client_id=registration.client_id,
            kind=Kind.CERTIFICATE,
            state=State.ISSUED,
            thumbprint=issued.thumbprint,
            not_before=issued.not_before,
            not_after=issued.not_after,
            created_at=self._clock.now(),
        )
        sealed = self._vault.seal(issued.bundle, context=credential_context(credential.credential_id))
        await unit.add_credential(credential, sealed=sealed, certificate_der=issued.certificate_der)

    async def _deliver_bootstrap(self, unit: Unit, registration: Registration, _verdict: Verdict) -> None:
        stored = await unit.bootstrap_secret(registration.tenant_id)
        if stored is None:
            return
        secret = self._vault.open(stored, context=bootstrap_context(registration.tenant_id))
        now = self._clock.now()
        credential = Credential(
            credential_id=self._ids.new(),
            tenant_id=registration.tenant_id,
            client_id=registration.client_id,
            kind=Kind.CLIENT_SECRET,
            state=State.DELIVERED,
            thumbprint=None,
            not_before=now,
            not_after=now.replace(year=now.year + 2, day=min(now.day, 28)),
            created_at=now,
        )
        context = credential_context(credential.credential_id)
        bundle = orjson.dumps({"client_secret": secret.decode()})
        await unit.add_credential(credential, sealed=self._vault.seal(bundle, context=context), certificate_der=None)
        sealed = {GRAPH_ADAPTER: self._vault.seal_for(GRAPH_ADAPTER, bundle, context=context)}
        await unit.publish(
            Outgoing(
                "delivered", registration.tenant_id, credential=credential, registration=registration, sealed=sealed
            )
        )

    async def _deliver(self, unit: Unit, registration: Registration, verdict: Verdict) -> None:
        credential = _of(verdict)
        context = credential_context(credential.credential_id)
        bundle = self._vault.open(await unit.secret(credential.credential_id), context=context)
        sealed = {
            receiver: self._vault.seal_for(receiver, bundle, context=context)
            for receiver in (GRAPH_ADAPTER, PWSH_GATEWAY)
        }
        await unit.publish(
            Outgoing(
                "delivered", registration.tenant_id, credential=credential, registration=registration, sealed=sealed
            )
        )
        await unit.set_state(credential.credential_id, State.DELIVERED)

    async def _register(self, unit: Unit, registration: Registration, verdict: Verdict) -> None:
        credential = _of(verdict)
        outgoing = Outgoing(
            "register",
            registration.tenant_id,
            credential=verdict.bootstrap,
            registration=registration,
            certificate_der=await unit.certificate_der(credential.credential_id),
        )
        await self._send(unit, credential, policy.REGISTER, outgoing)

    async def _mark_registered(self, unit: Unit, _registration: Registration, verdict: Verdict) -> None:
        await unit.set_state(_of(verdict).credential_id, State.REGISTERED)

    async def _probe(self, unit: Unit, registration: Registration, verdict: Verdict) -> None:
        credential = _of(verdict)
        for workload in verdict.workloads:
            outgoing = Outgoing(
                "probe", registration.tenant_id, credential=credential, workload=workload, registration=registration
            )
            await self._send(unit, credential, workload, outgoing)

    async def _send(self, unit: Unit, credential: Credential, purpose: str | Workload, outgoing: Outgoing) -> None:
        earlier = credential.requests.get(str(purpose))
        attempt = earlier.attempt + 1 if earlier is not None else 1
        operation_id = self._ids.new()
        await unit.add_request(operation_id, credential, Request(str(purpose), attempt, self._clock.now()))
        await unit.publish(replace(outgoing, operation_id=operation_id))

    async def _activate(self, unit: Unit, registration: Registration, verdict: Verdict) -> None:
        credential = _of(verdict)
        await unit.set_state(credential.credential_id, State.ACTIVE)
        await unit.publish(
            Outgoing("activated", registration.tenant_id, credential=credential, registration=registration)
        )

    async def _fail(self, unit: Unit, registration: Registration, verdict: Verdict) -> None:
        credential = _of(verdict)
        await unit.set_state(credential.credential_id, State.FAILED)
        await unit.publish(
            Outgoing(
                "failed",
                registration.tenant_id,
                credential=credential,
                registration=registration,
                code=verdict.reason,
                message=verdict.message,
                remedy=verdict.remedy,
            )
        )


def _of(verdict: Verdict) -> Credential:
    if verdict.credential is None:
        raise ValueError(f"the verdict {verdict.step} names no credential")
    return verdict.credential
