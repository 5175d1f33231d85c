"""The leased operations of one tenant are carried out, in rounds: collect every operation's next requests, send them
as `$batch`, feed the answers back, write down what ended or must wait, again.

    sign in ──> ┌ begin ──> ask ──> settle (one transaction) ──> send ──> feed ┐ ──> ... until nothing is left to ask
                └────────────────────────────────────────────────────────────────┘
The results of a round and the checkpoints of the next one share a transaction, and none is open while anything is sent.
An operation begins when the one before it at its target has ended; when that one must wait, it goes back unbegun.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from graph_adapter.application.lease_operations import TenantWork
from graph_adapter.application.reload_templates import TemplateShelf
from graph_adapter.application.send_round import Asked, send_round
from graph_adapter.application.settle_round import settle_round
from graph_adapter.domain import operation as ops
from graph_adapter.domain.admission import Admission, unknown
from graph_adapter.domain.capabilities import context_of
from graph_adapter.domain.credential import Token
from graph_adapter.domain.endings import template_fault
from graph_adapter.domain.machine import UNEXPECTED, Machine
from graph_adapter.domain.operation import ACTIVE_CREDENTIAL, REQUEST_ID_COUNT_MAX, LeasedOperation, Reply, Result
from graph_adapter.domain.ports import Graph, Observer, Store, Tokens
from graph_adapter.domain.progress import Directive, Finished, LookUp, Pauses, Progress, Wait
from graph_adapter.domain.settlement import Checkpoint, Parked, Settlement, TenantPause, unbegun
from graph_adapter.domain.turns import Turns
from mesh_runtime import faults
from mesh_runtime.clock import Clock
from mesh_runtime.errors import MeshError, Unavailable

SIGNED_IN = faults.declare("graph.signed_in", "a token is at hand, nothing is asked of Microsoft Graph yet")

SIGN_IN_PAUSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class RunPorts:
    """What a run needs. `stop` asks it to put back what is not finished after the round it is in."""

    store: Store
    graph: Graph
    tokens: Tokens
    shelf: TemplateShelf
    observer: Observer
    clock: Clock
    pauses: Pauses
    batches_max: int
    stop: asyncio.Event


async def run_operations(work: TenantWork, ports: RunPorts) -> None:
    """Ends with every operation answered or back in the queue; on an error it leaves the rest under the lease, to be
    recovered.
    """
    by_credential: dict[str, list[LeasedOperation]] = defaultdict(list)
    for operation in work.operations:
        by_credential[operation.command.credential].append(operation)
    for name, operations in by_credential.items():
        await _Run(ports, work, name, operations).run()


class _Run:
    """One credential's operations of one lease."""

    def __init__(
        self, ports: RunPorts, work: TenantWork, credential: str, operations: Sequence[LeasedOperation]
    ) -> None:
        self._ports = ports
        self._work = work
        self._is_active = credential == ACTIVE_CREDENTIAL
        self._credential_id = self._resolve(credential)
        self._catalogue = ports.shelf.current
        self._machine = Machine(self._catalogue.errors, ports.pauses)
        self._token: Token | None = None
        self._settlement = self._blank()
        refused = [(leased, unknown(self._catalogue, leased.command)) for leased in operations]
        self._turns = Turns([leased for leased, result in refused if result is None])
        for leased, result in refused:
            if result is not None:
                self._end(leased, result, ())

    async def run(self) -> None:
        if not self._turns.are_over:
            admission = await self._sign_in()
            if admission is not None:
                await self._rounds(admission)
        await self._settle([])

    async def _rounds(self, admission: Admission) -> None:
        """Leaves the last one to be settled."""
        active = self._begin(admission)
        while active:
            asked, questions = self._ask(active)
            asked = await self._settle(asked)
            decided = await self._send(asked)
            decided += await self._look_up(questions)
            following = [(progress, found) for progress, found in decided if isinstance(found, LookUp)]
            decided = [(progress, found) for progress, found in decided if not isinstance(found, LookUp)]
            decided += await self._look_up(following)
            active = await self._apply(decided)
            active += self._begin(admission)

    def _resolve(self, credential: str) -> UUID | None:
        if self._is_active:
            return self._work.tenant.active_credential_id if self._work.tenant is not None else None
        return UUID(credential)

    async def _sign_in(self) -> Admission | None:
        """None when nothing can be done now: then every operation is answered or parked."""
        if self._credential_id is None:
            message = "The tenant has no active credential yet."
            remedy = "Apply the customer's configuration and wait until its certificate is active: `ucmesh certs list`."
            self._end_all(ops.failed("credential", message, retryable=True, remedy=remedy))
            return None
        try:
            token = self._token = await self._ports.tokens.token(self._work.tenant_id, self._credential_id)
        except Unavailable as error:
            self._put_all_back(_sign_in_pause_seconds(error), error.message)
            return None
        except MeshError as error:
            self._end_all(_sign_in_failed(error))
            return None
        known = self._work.tenant.roles if self._work.tenant is not None else None
        if self._is_active and token.roles is not None and token.roles != known:
            self._settlement.roles = token.roles
        faults.fault_point(SIGNED_IN)
        context = context_of(self._work.tenant_id, token.graph_url, token.roles, self._catalogue.templates.values())
        return Admission(self._catalogue, token.roles, context)

    def _begin(self, admission: Admission) -> list[Progress]:
        """Those whose turn it is; nobody's once the tenant pauses or the worker stops."""
        now = self._ports.clock.now()
        if self._settlement.pause is not None or self._ports.stop.is_set():
            self._settlement.parked.extend(unbegun(leased, now) for leased in self._turns.give_up_all())
        active = []
        while following := self._turns.next():
            for leased in following:
                admitted = admission.of(leased, now)
                if isinstance(admitted, Result):
                    self._end(leased, admitted, ())
                else:
                    active.append(self._machine.begin(leased, admitted, admission.context))
        return active

    def _ask(self, active: Sequence[Progress]) -> tuple[list[Asked], list[tuple[Progress, LookUp]]]:
        asked: list[Asked] = []
        questions: list[tuple[Progress, LookUp]] = []
        for progress in active:
            try:
                found = self._machine.ask(progress)
            except UNEXPECTED as fault:
                self._end(progress.leased, template_fault(fault), progress.request_ids)
                continue
            if isinstance(found, LookUp):
                questions.append((progress, found))
            else:
                asked.append((progress, found))
        return asked, questions

    async def _settle(self, asked: list[Asked]) -> list[Asked]:
        """Writes down what there is, with a checkpoint of everything that is about to write. Answers what may be
        sent: nothing of a target whose operation has another holder by now.
        """
        writing = {progress.leased.command.operation_id: progress for progress, _ in asked if _must_keep(progress)}
        settlement, self._settlement = self._settlement, self._blank()
        settlement.checkpoints = [Checkpoint(key, progress.dump()) for key, progress in writing.items()]
        if settlement.is_empty:
            return asked
        held = await settle_round(self._ports.store, settlement, self._ports.clock)
        for progress in writing.values():
            progress.dirty = False
        lost = {reply.command.target for reply in settlement.replies if reply.command.operation_id not in held}
        lost |= {progress.leased.command.target for key, progress in writing.items() if key not in held}
        for target in lost:
            self._turns.give_up(target)
        return [one for one in asked if one[0].leased.command.target not in lost]

    async def _send(self, asked: Sequence[Asked]) -> list[tuple[Progress, Directive]]:
        if not asked or self._token is None:
            return []
        commands = [progress.leased.command for progress, _ in asked]
        request_count = sum(len(requests) for _, requests in asked)
        with self._ports.observer.round(self._work.tenant_id, commands, request_count):
            answered = await send_round(self._ports.graph, self._token, asked, self._ports.batches_max)
        return [(progress, self._machine.feed(progress, answers)) for progress, answers in answered]

    async def _look_up(self, questions: Sequence[tuple[Progress, LookUp]]) -> list[tuple[Progress, Directive]]:
        if not questions:
            return []
        wanted = sorted({object_id for _, question in questions for object_id in question.object_ids})
        async with self._ports.store.read() as unit:
            created = await unit.tenants.created(self._work.tenant_id, wanted)
        now = self._ports.clock.now()
        return [
            (progress, self._machine.told(progress, {key: created[key] for key in q.object_ids if key in created}, now))
            for progress, q in questions
        ]

    async def _apply(self, decided: Sequence[tuple[Progress, Directive]]) -> list[Progress]:
        """Collects ends and waits; answers what goes on."""
        active: list[Progress] = []
        stale = False
        now = self._ports.clock.now()
        for progress, directive in decided:
            if isinstance(directive, Finished):
                self._end(progress.leased, directive.result, progress.request_ids)
            elif isinstance(directive, Wait) and not directive.renew:
                self._wait(progress, directive, now)
            else:
                stale = stale or isinstance(directive, Wait)
                active.append(progress)
        if stale and self._token is not None:
            active = await self._renew(active, self._token)
        if active and (self._settlement.pause is not None or self._ports.stop.is_set()):
            for progress in active:
                self._park(progress, now)
            return []
        return active

    def _wait(self, progress: Progress, wait: Wait, now: datetime) -> None:
        until = now + timedelta(seconds=wait.seconds)
        if until >= progress.leased.command.deadline:
            self._end(progress.leased, wait.result, progress.request_ids)
            return
        self._park(progress, now if wait.throttled else until)
        if wait.throttled and self._pause(until, "throttled"):
            self._ports.observer.throttled(self._work.tenant_id, wait.seconds)

    async def _renew(self, active: Sequence[Progress], stale: Token) -> list[Progress]:
        try:
            self._token = await self._ports.tokens.renew(stale)
        except Unavailable as error:
            self._pause(self._ports.clock.now() + timedelta(seconds=_sign_in_pause_seconds(error)), error.message)
        except MeshError as error:
            for progress in active:
                self._end(progress.leased, _sign_in_failed(error), progress.request_ids)
            return []
        return list(active)

    def _park(self, progress: Progress, not_before: datetime) -> None:
        """Those after it wait in the queue for it."""
        leased, now = progress.leased, self._ports.clock.now()
        self._settlement.parked.append(Parked(leased.command.operation_id, not_before, progress.dump(), False))
        self._settlement.parked.extend(unbegun(each, now) for each in self._turns.give_up(leased.command.target))

    def _put_all_back(self, seconds: float, reason: str) -> None:
        now = self._ports.clock.now()
        until = now + timedelta(seconds=seconds)
        self._pause(until, reason)
        for leased in self._turns.give_up_all():
            if until >= leased.command.deadline:
                self._end(leased, ops.failed("timeout", f"Sign-in is not possible: {reason}", retryable=True), ())
            else:
                self._settlement.parked.append(unbegun(leased, now))

    def _pause(self, until: datetime, reason: str) -> bool:
        """False when the tenant pauses for longer already."""
        held = self._settlement.pause
        if held is not None and held.until >= until:
            return False
        self._settlement.pause = TenantPause(until, reason)
        return True

    def _end_all(self, result: Result) -> None:
        for leased in self._turns.give_up_all():
            self._end(leased, result, ())

    def _end(self, leased: LeasedOperation, result: Result, request_ids: Sequence[str]) -> None:
        ids = tuple(dict.fromkeys(request_ids))[-REQUEST_ID_COUNT_MAX:]
        now = self._ports.clock.now()
        reply = Reply(leased.command, result, leased.attempts, leased.started_at, now, ids)
        self._settlement.replies.append(reply)
        self._turns.ended(leased)

    def _blank(self) -> Settlement:
        return Settlement(self._work.tenant_id, self._work.lease_id)


def _sign_in_failed(error: MeshError) -> Result:
    code = error.code if error.code == "tenant-mismatch" else "credential"
    return ops.failed(code, error.message, retryable=error.retryable, remedy=error.remedy, detail=error.detail)


def _sign_in_pause_seconds(error: Unavailable) -> float:
    return float(str(error.detail.get("retry_after_seconds") or SIGN_IN_PAUSE_SECONDS))


def _must_keep(progress: Progress) -> bool:
    return progress.dirty and progress.step.writes
