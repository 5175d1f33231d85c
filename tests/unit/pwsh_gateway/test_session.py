# ruff: noqa: E501 - a table is read by its lines
"""The life of a session, as scripts: events in, state and actions out. The clock is a number."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from pwsh_gateway.domain.protocol import TENANT_MISMATCH, Lost, Raised, Returned
from pwsh_gateway.domain.session import Session
from pwsh_gateway.domain.session_events import (
    Action,
    Answered,
    DrainWished,
    Ended,
    Event,
    FrameSeen,
    Invoked,
    Kill,
    MemorySampled,
    Opened,
    ProcessEnded,
    Ready,
    Released,
    Reserved,
    Send,
    SessionLimits,
    Terminated,
    Ticked,
)

TENANT = "8d2f6c1e-3b7a-4c55-9f1e-2a6d0c4b7e11"
OTHER = "11111111-3b7a-4c55-9f1e-2a6d0c4b7e11"
LIMITS = SessionLimits(
    connect_seconds_max=10, idle_seconds_max=100, age_seconds_max=1000, executions_max=3, memory_soft_bytes=500,
    memory_hard_bytes=1000, hang_grace_seconds=5, exit_grace_seconds=2,
)  # fmt: skip


def connected(tenant: str = TENANT) -> FrameSeen:
    return FrameSeen({"id": "c", "ok": True, "output": {"tenant_id": tenant}, "module_version": "7.8.0"})


def invoke(request_id: str, timeout: float = 30) -> Invoked:
    return Invoked(request_id, {"op": "invoke", "cmdlet": "Get-CsOnlineUser"}, timeout)


def answered(request_id: str, **body: Any) -> FrameSeen:
    return FrameSeen({"id": request_id, "ok": True, "output": [], "tenant_id": TENANT, **body})


UP: list[Event | float] = [Opened(), connected()]
BUSY: list[Event | float] = [*UP, Reserved(), invoke("r1")]
REFUSED = FrameSeen({"id": "c", "ok": False, "error": {"message": "AADSTS700027", "fqid": "x"}})
TIMED_OUT = FrameSeen({"id": "r1", "ok": False, "error": {"message": "late", "fqid": "UcmeshTimeout"}})
MISMATCH = FrameSeen({"id": "r1", "ok": False, "error": {"message": "other tenant", "fqid": TENANT_MISMATCH}})


@dataclass
class Case:
    """`script` holds events and, as numbers, seconds that pass. `ended` unset: it lives. `lost` unset: nobody waits."""

    name: str
    script: Sequence[Event | float]
    state: str
    ended: str | None = None
    lost: str | None = None
    killed: bool = False
    sent: Sequence[str] = field(default_factory=list)


CASES = [
    Case("starts and connects", [Opened()], "connecting", sent=["connect"]),
    Case("is idle once connected", UP, "idle", sent=["connect"]),
    Case("dies when the log-in is refused", [Opened(), REFUSED], "dead", ended="connect-failed", killed=True),
    Case("dies when it is connected to another tenant", [Opened(), connected(OTHER)], "dead", "tenant-mismatch", killed=True),
    Case("dies when the tenant cannot be told", [Opened(), FrameSeen({"id": "c", "ok": True})], "dead", "tenant-mismatch", killed=True),
    Case("is not connected by a forged frame", [Opened(), FrameSeen({"id": "x", "ok": True})], "connecting"),
    Case("dies when connecting takes too long", [Opened(), 11, Ticked()], "dead", "connect-timeout", killed=True),
    Case("dies when the process ends while starting", [ProcessEnded()], "dead", "process-ended", killed=True),
    Case("is busy while reserved", [*UP, Reserved()], "busy"),
    Case("is idle again after the visit", [*BUSY, answered("r1"), Released()], "idle"),
    Case("stays busy between two requests", [*BUSY, answered("r1"), invoke("r2")], "busy"),
    Case("answers lost when the process ends", [*BUSY, ProcessEnded()], "dead", "process-ended", "process-ended", True),
    Case("ignores the answer to a request nobody made", [*BUSY, answered("r9")], "busy"),
    Case("is killed when it hangs beyond timeout and grace", [*BUSY, 34, Ticked(), 1.5, Ticked()], "dead", "hung", "hung", True),
    Case("is left alone while the timeout has not passed", [*BUSY, 34, Ticked()], "busy"),
    Case("drains after the host had to stop a cmdlet", [*BUSY, TIMED_OUT, Released()], "draining"),
    Case("is killed when it answers for another tenant", [*BUSY, answered("r1", tenant_id=OTHER)], "dead", "tenant-mismatch", None, True),
    Case("is killed when the host reports another tenant", [*BUSY, MISMATCH], "dead", "tenant-mismatch", None, True),
    Case("is killed when a result does not name its tenant", [*BUSY, answered("r1", tenant_id=None)], "dead", "tenant-mismatch", None, True),
    Case("takes an answer that names its own tenant", [*BUSY, answered("r1", tenant_id=TENANT.upper())], "busy"),
    Case("ends when idle too long", [*UP, 101, Ticked()], "draining", sent=["connect", "exit"]),
    Case("does not end while it is young and used", [*UP, 99, Ticked()], "idle"),
    Case("ends when too old and idle", [*UP, 99, Reserved(), 950, Released(), Ticked()], "draining"),
    Case("finishes its visit although too old", [*UP, 99, Reserved(), 950, Ticked()], "busy"),
    Case("ends after enough executions", [*BUSY, answered("r1"), invoke("r2"), answered("r2"), invoke("r3"), answered("r3"), Released()], "draining"),
    Case("ends at once when told while idle", [*UP, DrainWished("evicted")], "draining", sent=["connect", "exit"]),
    Case("finishes its visit before it drains", [*BUSY, DrainWished("rotated"), answered("r1"), invoke("r2")], "draining"),
    Case("drains after the visit", [*BUSY, DrainWished("rotated"), answered("r1"), Released(), ProcessEnded()], "dead", "rotated", None, True),
    Case("never serves when told to drain while connecting", [Opened(), DrainWished("rotated"), connected()], "draining"),
    Case("is killed when it does not exit", [*UP, DrainWished("evicted"), 3, Ticked()], "dead", "evicted", None, True),
    Case("is killed at once when terminated", [*BUSY, Terminated("by admin")], "dead", "by admin", "by admin", True),
    Case("drains beyond the soft memory limit", [*BUSY, MemorySampled(600), answered("r1"), Released()], "draining"),
    Case("is killed beyond the hard memory limit", [*BUSY, MemorySampled(2000)], "dead", "memory-hard", "memory-hard", True),
    Case("dies when a visit leaves a request behind", [*BUSY, Released()], "dead", "abandoned", "abandoned", True),
    Case("stays dead", [*UP, Terminated("x"), answered("r1"), Released(), Ticked(), MemorySampled(9999)], "dead", "x", None, True),
]  # fmt: skip


def play(script: Sequence[Event | float]) -> tuple[Session, list[Action]]:
    now = 1000.0
    session = Session(tenant_id=TENANT, connect={"id": "c", "op": "connect"}, limits=LIMITS, now=now)
    actions: list[Action] = []
    for step in script:
        if isinstance(step, int | float):
            now += step
        else:
            actions += session.handle(step, now)
    return session, actions


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_session(case: Case) -> None:
    session, actions = play(case.script)
    assert session.state == case.state
    assert [action.reason for action in actions if isinstance(action, Ended)] == ([case.ended] if case.ended else [])
    lost = [a.answer.reason for a in actions if isinstance(a, Answered) and isinstance(a.answer, Lost)]
    assert lost == ([case.lost] if case.lost else [])
    assert any(isinstance(action, Kill) for action in actions) == case.killed
    if session.state == "draining" and not session.reserved:
        assert [action.message["op"] for action in actions if isinstance(action, Send)][-1] == "exit"
    if case.sent:
        assert [action.message["op"] for action in actions if isinstance(action, Send)] == list(case.sent)


def test_the_secret_is_forgotten_once_it_was_sent() -> None:
    session = Session(tenant_id=TENANT, connect={"id": "c", "op": "connect", "pfx": "s3cret"}, limits=LIMITS, now=0)
    session.handle(Opened(), 0)
    assert "s3cret" not in repr({slot: getattr(session, slot) for slot in vars(session)})


def test_a_request_carries_its_id_and_its_timeout() -> None:
    _, actions = play(BUSY)
    assert actions[-1] == Send({"id": "r1", "op": "invoke", "cmdlet": "Get-CsOnlineUser", "timeout_ms": 30_000})


def test_an_error_record_is_the_answer_and_the_session_lives() -> None:
    session, actions = play([*BUSY, FrameSeen({"id": "r1", "ok": False, "error": {"message": "no"}})])
    assert isinstance(actions[-1], Answered)
    assert isinstance(actions[-1].answer, Raised)
    assert session.state == "busy"


def test_a_mismatch_fails_the_request_instead_of_losing_it() -> None:
    _, actions = play([*BUSY, answered("r1", tenant_id=OTHER)])
    (answer,) = [action.answer for action in actions if isinstance(action, Answered)]
    assert isinstance(answer, Raised)
    assert answer.error.fqid == TENANT_MISMATCH


def test_a_request_to_a_dead_session_is_lost_at_once() -> None:
    session, _ = play([*UP, Terminated("gone")])
    assert session.handle(invoke("r5"), 2000) == [Answered("r5", Lost("gone"))]


def test_ready_is_told_once_connected_and_after_each_visit() -> None:
    _, actions = play([*UP, Reserved(), Released()])
    assert [type(action) for action in actions] == [Send, Ready, Ready]


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([Opened(), Reserved()], id="reserve before it is connected"),
        pytest.param([*UP, Reserved(), Reserved()], id="two visits at once"),
        pytest.param([*UP, invoke("r1")], id="a request outside a visit"),
        pytest.param([*BUSY, invoke("r2")], id="two requests at once"),
    ],
)
def test_what_a_session_refuses(script: Sequence[Event | float]) -> None:
    with pytest.raises(ValueError, match="session"):
        play(script)


def test_executions_count_answers() -> None:
    session, actions = play([*BUSY, answered("r1", output=[{"Identity": "x"}], duration_ms=3)])
    assert session.executions == 1
    assert actions[-1] == Answered("r1", Returned(({"Identity": "x"},), (), 3))
