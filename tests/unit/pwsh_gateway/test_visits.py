"""Grouping into visits, and what one sitting remembers."""

import uuid
from datetime import UTC, datetime
from typing import Any

from pwsh_gateway.adapters import shipped
from pwsh_gateway.domain.config import GatewayConfig
from pwsh_gateway.domain.operations import Operation, Stream
from pwsh_gateway.domain.protocol import Invocation, Raised, Returned, error_of
from pwsh_gateway.domain.seats import Seats
from pwsh_gateway.domain.visits import Leased, Memory, Visit, collides, group, touches

NOW = datetime(2026, 11, 25, 8, tzinfo=UTC)
CATALOGUE = shipped.catalogue()
TEAMS_A = Stream("tenant-a", "MicrosoftTeams")
EXCHANGE_A = Stream("tenant-a", "ExchangeOnlineManagement")
TEAMS_B = Stream("tenant-b", "MicrosoftTeams")


def operation(seq: int, target: str, stream: Stream = TEAMS_A, name: str = "teams.user.get") -> Operation:
    return Operation(
        operation_id=uuid.UUID(int=seq),
        seq=seq,
        operation=name,
        version=1,
        stream=stream,
        target=target,
        params={"identity": target},
        deadline=NOW,
        reply_to="ucmesh.orchestrator.replies.v1",
        plan_id=None,
        lane="normal",
        traceparent=None,
        attempts=1,
        received_at=NOW,
        started_at=NOW,
    )


def leased(*operations: Operation) -> list[Leased]:
    return [Leased(operation, None, "northwind") for operation in operations]


def test_operations_of_one_user_share_a_visit_in_the_order_they_came() -> None:
    visits = group(leased(operation(3, "zoe"), operation(1, "zoe"), operation(2, "zoe")))
    assert [[o.seq for o in visit.operations] for visit in visits] == [[1, 2, 3]]


def test_users_modules_tenants_and_credentials_are_kept_apart() -> None:
    canary = Stream("tenant-a", "MicrosoftTeams", "019ab3c2-0001-7000-8000-00000000c0de")
    visits = group(
        leased(
            operation(1, "zoe"),
            operation(2, "adam"),
            operation(3, "zoe", EXCHANGE_A),
            operation(4, "zoe", TEAMS_B),
            operation(5, "zoe", canary),
            operation(6, "zoe"),
        )
    )
    assert [(visit.stream, visit.target, len(visit.operations)) for visit in visits] == [
        (TEAMS_A, "zoe", 2),
        (TEAMS_A, "adam", 1),
        (EXCHANGE_A, "zoe", 1),
        (TEAMS_B, "zoe", 1),
        (canary, "zoe", 1),
    ]


def fields(name: str, params: dict[str, Any]) -> frozenset[str] | None:
    return touches(CATALOGUE.find(name, 1), params)


def test_what_an_operation_touches() -> None:
    assert fields("teams.user.get", {}) is None
    assert fields("teams.number.assign", {}) == {"LineURI"}
    assert fields("teams.policy.grant", {"policy_type": "TenantDialPlan"}) == {"TenantDialPlan"}
    assert fields("exchange.cas-mailbox.configure", {"settings": {"ImapEnabled": False}}) == {"ImapEnabled"}


def test_grants_of_different_policies_do_not_wait_for_each_other_but_a_read_does() -> None:
    pending = [frozenset({"TenantDialPlan"}), frozenset({"LineURI"})]
    assert not collides(frozenset({"TeamsCallingPolicy"}), pending)
    assert collides(frozenset({"LineURI"}), pending)
    assert collides(None, pending)
    assert not collides(None, [])


READ = Invocation("Get-CsOnlineUser", {"Identity": "zoe"}, ("LineURI",))
ANSWER = Returned(({"LineURI": None},))


def test_one_read_serves_several_operations() -> None:
    memory = Memory()
    assert memory.recall(READ, frozenset({"LineURI"})) is None
    memory.note(READ, ANSWER)
    assert memory.recall(READ, frozenset({"LineURI"})) is ANSWER
    assert memory.recall(READ, None) is ANSWER
    assert memory.recall(Invocation("Get-CsOnlineUser", {"Identity": "adam"}, ("LineURI",)), None) is None


def test_a_write_makes_its_field_unread_again() -> None:
    memory = Memory()
    memory.note(READ, ANSWER)
    memory.wrote("zoe", {"LineURI": "+41"})
    assert memory.recall(READ, frozenset({"LineURI"})) is None
    assert memory.recall(READ, None) is None
    assert memory.recall(READ, frozenset({"TenantDialPlan"})) is ANSWER
    memory.note(READ, ANSWER)
    assert memory.recall(READ, None) is ANSWER


def test_errors_and_writes_are_not_remembered() -> None:
    memory = Memory()
    memory.note(READ, Raised(error_of(None)))
    write = Invocation("Set-Mailbox", {"Identity": "zoe"}, None, writes=True)
    memory.note(write, ANSWER)
    assert memory.recall(READ, None) is None
    assert memory.recall(write, None) is None


def test_the_overlay_is_per_subject_and_the_latest_write_wins() -> None:
    memory = Memory({("zoe", "LineURI"): "+41", ("adam", "LineURI"): "+42"})
    assert memory.overlay("zoe") == {"LineURI": "+41"}
    memory.wrote("zoe", {"LineURI": None})
    assert memory.overlay("zoe") == {"LineURI": None}
    assert memory.overlay("eve") == {}


def visit(stream: Stream, customer: str = "northwind") -> Visit:
    return Visit(stream, "zoe", None, customer, ())


def test_seats_hold_to_every_limit() -> None:
    config = GatewayConfig(
        concurrency_global_max=4, concurrency_per_customer_max=3, concurrency_per_stream_max=2,
        concurrency_overrides={"fabrikam": 1},
    )  # fmt: skip
    seats = Seats()
    assert [seats.take(visit(TEAMS_A), config) for _ in range(3)] == [True, True, False]
    assert [seats.take(visit(EXCHANGE_A), config) for _ in range(2)] == [True, False]
    assert [seats.take(visit(TEAMS_B, "fabrikam"), config) for _ in range(2)] == [True, False]
    assert seats.free_count(config) == 0
    assert seats.closed(config, 0) == [EXCHANGE_A, TEAMS_A, TEAMS_B]
    seats.leave(visit(TEAMS_A))
    assert seats.closed(config, 0) == [TEAMS_B]
    assert seats.take(visit(TEAMS_A), config)


def test_a_lowered_limit_stops_nothing_that_runs() -> None:
    seats = Seats()
    for _ in range(3):
        assert seats.take(visit(TEAMS_A), GatewayConfig())
    lowered = GatewayConfig(concurrency_per_stream_max=1)
    assert not seats.take(visit(TEAMS_A), lowered)
    for _ in range(3):
        seats.leave(visit(TEAMS_A))
    assert seats.take(visit(TEAMS_A), lowered)


def test_a_pause_ends_by_itself_or_when_the_tenant_changes() -> None:
    seats, config = Seats(), GatewayConfig()
    seats.pause(TEAMS_A, 100)
    seats.pause(TEAMS_B, 100)
    assert seats.closed(config, 99) == [TEAMS_A, TEAMS_B]
    seats.resume("tenant-a")
    assert seats.closed(config, 99) == [TEAMS_B]
    assert seats.closed(config, 100) == []
