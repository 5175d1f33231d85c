"""Serve one visit: get a session, carry out its operations in order, and report what became of each.

No transaction is open while a cmdlet runs; before each round of writes one records what is about to be replaced.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from mesh_runtime.clock import Clock, IdGenerator
from mesh_runtime.errors import InvalidInput, MeshError
from mesh_runtime.faults import declare, fault_point
from mesh_runtime.logs import get_logger
from pwsh_gateway.application.sitting import Sitting, run_cmdlet
from pwsh_gateway.application.visit_report import VisitReport, finished, settle, without_session
from pwsh_gateway.domain.catalogue import Catalogue
from pwsh_gateway.domain.config import GatewayConfig
from pwsh_gateway.domain.error_rules import RuleSet
from pwsh_gateway.domain.operations import Intent, Operation, Problem, Verdict, failed, refused
from pwsh_gateway.domain.ports import HeldSession, NoSession, SessionPool
from pwsh_gateway.domain.procedure import Again, Circumstances, Done, perform
from pwsh_gateway.domain.protocol import Answer, Invocation
from pwsh_gateway.domain.retry import ambiguous
from pwsh_gateway.domain.visits import Memory, Visit, collides, subject, touches

# Attempts beyond the retry policy that ended without anybody noticing why.
CRASHES_MAX = 5

BEFORE_WRITE = declare("gateway.before_write", "what will be replaced is on disk, the cmdlet was not sent yet")
AFTER_WRITE = declare("gateway.after_write", "the cmdlet has taken effect, nothing about it is on disk yet")

_log = get_logger("pwsh_gateway.visit")


@dataclass(frozen=True, slots=True)
class ServeVisit:
    """`rules` and `config` give the values in force; `is_held` tells whether an operation is still leased to us.

    `record_intents` writes down what will be replaced and answers the operations that are still ours.
    """

    pool: SessionPool
    record_intents: Callable[[Mapping[uuid.UUID, Intent]], Awaitable[set[uuid.UUID]]]
    catalogue: Catalogue
    rules: Callable[[], RuleSet]
    config: Callable[[], GatewayConfig]
    is_held: Callable[[uuid.UUID], bool]
    clock: Clock
    ids: IdGenerator

    async def __call__(self, visit: Visit) -> VisitReport:
        """Every operation of the visit is in the report, finished or on its way back to the queue."""
        report = VisitReport(visit)
        sittings = self._sit_down(visit, report)
        waiting = [sitting for sitting in sittings if sitting.conclusion is None]
        try:
            if waiting:
                await self._hold_session(visit, waiting, report)
        except MeshError as error:
            # What has a conclusion keeps it; the rest goes back, and what may have been written is read back first.
            _log.warning("visit.interrupted", target=visit.target, reason=repr(error))
            for sitting in waiting:
                sitting.interrupted = True
        for sitting in sittings:
            settle(sitting, report, self.config(), self.clock.now())
        return report

    def _sit_down(self, visit: Visit, report: VisitReport) -> list[Sitting]:
        now = self.clock.now()
        sittings = []
        for operation in visit.operations:
            try:
                entry = self.catalogue.find(operation.operation, operation.version)
            except InvalidInput as error:
                report.finished.append(finished(operation, refused(error.code, str(error)), now))
                continue
            sitting = Sitting(operation, entry, touches(entry, operation.params))
            if operation.attempts > self.config().retry_attempts_max + CRASHES_MAX:
                sitting.conclusion = Done(_given_up(sitting))
            elif visit.credential_id is not None and operation.deadline <= now and operation.intent is None:
                late = "the deadline passed before a session was free"
                sitting.conclusion = Done(failed("deadline-exceeded", late, retryable=True))
            sittings.append(sitting)
        return sittings

    async def _hold_session(self, visit: Visit, sittings: list[Sitting], report: VisitReport) -> None:
        try:
            session = await self.pool.acquire(visit)
        except NoSession as refusal:
            without_session(refusal, sittings, report, rules=self.rules(), config=self.config(), now=self.clock.now())
            return
        try:
            await self._serve(session, visit, sittings, report)
        finally:
            self.pool.release(session)

    async def _serve(self, session: HeldSession, visit: Visit, sittings: list[Sitting], report: VisitReport) -> None:
        memory = Memory(visit.recent)
        pending: list[Sitting] = []
        for sitting in sittings:
            if collides(sitting.needs, [p.needs or frozenset() for p in pending]):
                if not await self._write(session, pending, memory, report):
                    return
                pending = []
            self._begin(sitting, memory)
            if await self._advance(session, sitting, memory, report):
                pending.append(sitting)
            elif isinstance(sitting.conclusion, Again):
                if _ends_session(session, sitting.conclusion):
                    return
                break  # Operations of one target keep their order: nothing overtakes one that waits.
        await self._write(session, pending, memory, report)

    def _begin(self, sitting: Sitting, memory: Memory) -> None:
        operation = sitting.operation
        circumstances = Circumstances(
            rules=self.rules(),
            intent=operation.intent,
            may_write=self.clock.now() < operation.deadline,
            overlay=memory.overlay(subject(operation.params)),
        )
        sitting.procedure = perform(sitting.entry, operation.params, circumstances)

    async def _advance(self, session: HeldSession, sitting: Sitting, memory: Memory, report: VisitReport) -> bool:
        """Runs the procedure up to its intent (True) or its conclusion (False)."""
        step = sitting.step(None)
        while isinstance(step, Invocation):
            answer: Answer | None = memory.recall(step, sitting.needs)
            if answer is None:
                run = await run_cmdlet(session, step, sitting, clock=self.clock, ids=self.ids, config=self.config())
                report.executions.append(run.execution)
                answer = run.answer
                memory.note(step, answer)
            step = sitting.step(answer)
        if isinstance(step, Intent):
            sitting.intent = step
            return True
        if isinstance(sitting.conclusion, Done):
            memory.wrote(subject(sitting.operation.params), sitting.conclusion.written)
        return False

    async def _write(self, session: HeldSession, pending: list[Sitting], memory: Memory, report: VisitReport) -> bool:
        """Records what will be replaced, in one statement, then writes one after the other. False ends the visit."""
        fresh = {s.operation.operation_id: s.intent for s in pending if s.operation.intent is None and s.intent}
        held = {s.operation.operation_id for s in pending}
        if fresh:
            held -= fresh.keys() - await self.record_intents(fresh)
        for sitting in pending:
            operation_id = sitting.operation.operation_id
            if operation_id not in held or not self.is_held(operation_id):
                return False
            fault_point(BEFORE_WRITE)
            sitting.written = True
            await self._advance(session, sitting, memory, report)
            fault_point(AFTER_WRITE)
            if isinstance(sitting.conclusion, Again):
                _ends_session(session, sitting.conclusion)
                return False
        return True


def _ends_session(session: HeldSession, again: Again) -> bool:
    """Carries out what the rule wants done to the session; True when nothing more can be had from it now."""
    if again.rule.action == "reconnect":
        session.terminate("reconnect")
    elif again.rule.action == "recycle":
        session.drain("recycle")
    return again.rule.error_class in {"session", "auth", "throttle"}


def _given_up(sitting: Sitting) -> Verdict:
    operation: Operation = sitting.operation
    problem = Problem("gave-up", f"given up after {operation.attempts} attempts", retryable=True)
    if operation.intent is None:
        return Verdict("failed", problem=problem)
    return ambiguous(operation.params, operation.intent, sitting.entry, problem)
