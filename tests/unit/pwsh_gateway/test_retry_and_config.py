"""When an operation is tried again, and the settings that bound it."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mesh_runtime.errors import InvalidInput
from pwsh_gateway.adapters import shipped
from pwsh_gateway.domain.config import GatewayConfig, key_of, meanings
from pwsh_gateway.domain.error_rules import Match, Rule
from pwsh_gateway.domain.operations import Intent, Operation, Problem, Stream, Undo, Verdict
from pwsh_gateway.domain.procedure import LOST, Again
from pwsh_gateway.domain.retry import Postponed, RetryPolicy, decide

NOW = datetime(2026, 11, 25, 8, tzinfo=UTC)
ENTRY = shipped.catalogue().find("teams.number.assign", 1)
PARAMS = {"identity": "zoe@northwind.example", "telephone_number": "+41445551000", "number_type": "DirectRouting"}
POLICY = RetryPolicy(attempts_max=5, first_seconds=2, factor=2, cap_seconds=10)
RETRY = Rule("r", Match(message=("x",)), "transient", "retry", "unavailable", retryable=True)
PROBLEM = Problem("unavailable", "not now", retryable=True)


def operation(attempts: int = 1, seconds_left: float = 600, intent: Intent | None = None) -> Operation:
    return Operation(
        operation_id=uuid.UUID(int=1), seq=1, operation="teams.number.assign", version=1,
        stream=Stream("t", "MicrosoftTeams"), target="zoe", params=PARAMS,
        deadline=NOW + timedelta(seconds=seconds_left),
        reply_to="ucmesh.orchestrator.replies.v1", plan_id=None, lane="normal", traceparent=None, attempts=attempts,
        received_at=NOW, started_at=NOW, intent=intent,
    )  # fmt: skip


def settle(op: Operation, again: Again, intent: Intent | None = None) -> Postponed | Verdict:
    return decide(op, again, intent=intent, entry=ENTRY, now=NOW, policy=POLICY)


@pytest.mark.parametrize(("attempts", "seconds"), [(1, 2), (2, 4), (3, 8), (4, 10)])
def test_pauses_grow_and_are_capped(attempts: int, seconds: float) -> None:
    decision = settle(operation(attempts), Again(PROBLEM, RETRY))
    assert decision == Postponed(NOW + timedelta(seconds=seconds), PROBLEM, keep_intent=False)


def test_enough_is_enough() -> None:
    decision = settle(operation(5), Again(PROBLEM, RETRY))
    assert isinstance(decision, Verdict)
    assert decision.outcome == "failed"
    assert decision.problem is not None
    assert (decision.problem.code, decision.problem.detail) == ("unavailable", {"attempts": 5})
    assert not decision.changed


def test_a_rule_may_allow_fewer_attempts() -> None:
    rule = Rule("r", Match(), "transient", "retry", "server-error", retryable=True, attempts_max=2)
    assert isinstance(settle(operation(1), Again(PROBLEM, rule)), Postponed)
    assert isinstance(settle(operation(2), Again(PROBLEM, rule)), Verdict)


def test_the_server_may_ask_for_a_longer_pause() -> None:
    decision = settle(operation(1), Again(PROBLEM, RETRY, wait_seconds=30))
    assert isinstance(decision, Postponed)
    assert decision.not_before == NOW + timedelta(seconds=30)


def test_a_reconnect_is_tried_at_once() -> None:
    rule = Rule("r", Match(), "session", "reconnect", "session-lost", retryable=True)
    decision = settle(operation(2), Again(PROBLEM, rule))
    assert isinstance(decision, Postponed)
    assert decision.not_before == NOW


def test_nothing_is_tried_beyond_the_deadline_when_nothing_was_written() -> None:
    assert isinstance(settle(operation(1, seconds_left=1), Again(PROBLEM, RETRY)), Verdict)


def test_an_unknown_end_is_read_back_even_at_the_deadline() -> None:
    decision = settle(operation(1, seconds_left=1), Again(PROBLEM, LOST, ambiguous=True), Intent({"LineURI": None}))
    assert isinstance(decision, Postponed)
    assert decision.keep_intent
    assert decision.not_before == NOW + timedelta(seconds=1)


def test_an_unknown_end_that_stays_unknown_is_said_and_can_be_undone() -> None:
    intent = Intent({"LineURI": None})
    decision = settle(operation(5, intent=intent), Again(PROBLEM, LOST), intent)
    assert isinstance(decision, Verdict)
    assert decision.problem is not None
    assert (decision.outcome, decision.problem.code, decision.problem.retryable) == ("failed", "ambiguous", True)
    assert decision.changed
    assert decision.undo == Undo("teams.number.unassign", 1, PARAMS)


def test_an_earlier_unknown_end_stays_unknown_after_a_clear_failure_to_read() -> None:
    intent = Intent({"LineURI": None})
    decision = settle(operation(2, intent=intent), Again(PROBLEM, RETRY), intent)
    assert isinstance(decision, Postponed)
    assert decision.keep_intent


def test_settings_have_names_meanings_and_bounds() -> None:
    config = GatewayConfig()
    assert set(config.as_keys()) == set(meanings())
    assert config.changed(config.as_keys()) == config
    assert key_of("concurrency_global_max") == "concurrency.global_max"


@pytest.mark.parametrize(
    "changes",
    [
        {"concurrency.global_max": 0},
        {"concurrency.global_max": 501},
        {"concurrency.global_max": 2.5},
        {"concurrency.global_max": True},
        {"concurrency.global_max": "12"},
        {"concurrency.global_max": None},
        {"session.idle_reaper": 1},
        {"concurrency.overrides": {"northwind": 0}},
        {"concurrency.overrides": ["northwind"]},
        {"session.memory_soft_mb": 2000},
        {"nothing.like_this": 1},
        {"concurrency_global_max": 5},
    ],
)
def test_settings_out_of_bounds_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        GatewayConfig().changed(changes)


def test_settings_become_limits() -> None:
    config = GatewayConfig().changed(
        {"session.idle_seconds_max": 5.5, "session.memory_soft_mb": 100, "concurrency.overrides": {"northwind": 9}}
    )
    assert config.session_limits().idle_seconds_max == 5.5
    assert config.session_limits().memory_soft_bytes == 100 * 1024 * 1024
    assert config.customer_max("northwind") == 9
    assert config.customer_max("fabrikam") == config.concurrency_per_customer_max
    assert config.changed({"session.idle_reaper": False}).session_limits().idle_seconds_max == float("inf")
