"""The borders: messages in and out, Graph's envelope, sign-in errors, the vault, sessions of the environment."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
from multidict import CIMultiDict

from graph_adapter import wire
from graph_adapter.adapters.graph import client
from graph_adapter.adapters.graph.auth import read_claims
from graph_adapter.adapters.graph.client import retry_after_seconds
from graph_adapter.adapters.graph.login_errors import outcome_of
from graph_adapter.adapters.vault import SealedVault
from graph_adapter.domain import operation as ops
from graph_adapter.domain.clouds import cloud_of
from graph_adapter.domain.credential import Credential, CredentialKind, CredentialRefused
from graph_adapter.domain.operation import Outcome, Reply, Result, Undo
from graph_adapter.domain.progress import LOST, Answer
from mesh_messaging.event import CloudEvent
from mesh_runtime.errors import InvalidInput, Unavailable
from mesh_runtime.sealing import Sealer, SealingKey, seal_for
from support.graph_script import NOW, TENANT, command

EXECUTE: dict[str, Any] = {
    "operation_id": "0190a5c0-0000-7000-8000-000000000001",
    "operation": "user.get",
    "version": 1,
    "tenant_id": TENANT.upper(),
    "target": "ada@n.example",
    "params": {"user": "ada@n.example"},
    "deadline": "2026-11-30T09:00:00+01:00",
    "reply_to": "ucmesh.orchestrator.replies.v1",
    "a field of a later version": True,
}


def event(data: dict[str, Any], kind: str = wire.EXECUTE) -> CloudEvent:
    return CloudEvent(
        "1", "/orchestrator", kind, NOW, None, TENANT, orjson.dumps(data), "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    )


def test_a_command_is_read_with_its_defaults() -> None:
    found = wire.command_of(event(EXECUTE))
    assert found.tenant_id == TENANT
    assert found.deadline == datetime(2026, 11, 30, 8, tzinfo=UTC)
    assert (found.lane, found.credential, found.plan_id) == ("normal", "active", None)
    assert found.traceparent is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("operation_id", "zzz"), ("tenant_id", "northwind"), ("target", ""),
        ("target", "a\x00b"), ("params", []), ("deadline", "tomorrow"),
        ("deadline", "2026-11-30T09:00:00"), ("reply_to", "ucmesh.graph.commands.v1"), ("lane", "vip"),
        ("credential", "the good one"), ("version", 0), ("operation", None),
    ],
)  # fmt: skip
def test_what_is_off_the_contract_is_refused_by_field_and_without_values(name: str, value: object) -> None:
    with pytest.raises(InvalidInput) as refused:
        wire.command_of(event(EXECUTE | {name: value}))
    assert name in refused.value.message
    assert not value or str(value) not in refused.value.message


def test_a_reply_has_every_field_of_the_contract() -> None:
    undo = Undo("user.delete", 1, {"user_id": "U1"})
    result = Result(Outcome.SUCCEEDED, True, {"user_id": "U1"}, undo)
    reply = Reply(command("user.ensure", {}), result, 2, NOW, NOW + timedelta(seconds=1), ("r1",))
    assert orjson.loads(wire.completed_data(reply)) == {
        "operation_id": "00000000-0000-4000-8000-000000000001",
        "plan_id": None,
        "operation": "user.ensure",
        "version": 1,
        "tenant_id": TENANT,
        "outcome": "succeeded",
        "changed": True,
        "output": {"user_id": "U1"},
        "undo": {"operation": "user.delete", "version": 1, "params": {"user_id": "U1"}},
        "error": None,
        "attempts": 2,
        "started_at": "2026-11-30T08:00:00Z",
        "finished_at": "2026-11-30T08:00:01Z",
        "request_ids": ["r1"],
    }
    refusal = Reply(command("user.ensure", {}), ops.refused("no-seats", "None left."), 1, NOW, NOW, ())
    assert orjson.loads(wire.completed_data(refusal))["error"] == {
        "code": "no-seats", "message": "None left.", "retryable": False, "detail": {}, "remedy": None,
    }  # fmt: skip


# Graph's envelope -----------------------------------------------------------------------------------------------------
def read(status: int, body: Any, count: int, **headers: str) -> list[Answer]:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return client.answers(status, CIMultiDict(headers), content, count)


def test_answers_come_back_in_the_order_of_the_requests() -> None:
    body = {
        "responses": [
            {"id": "1", "status": 429, "headers": {"Retry-After": "2.4"}, "body": None},
            {"id": "0", "status": 404, "body": {"error": {"innerError": {"request-id": "inner"}}}},
        ]
    }
    first, second, third = read(200, body, 3, **{"request-id": "outer"})
    assert (first.status, first.request_id) == (404, "inner")
    assert (second.status, second.retry_after_seconds, second.request_id) == (429, 3.0, "outer")
    assert third.status == LOST


@pytest.mark.parametrize(
    "body", [b"<html>", b"", [], {"responses": None}, {"responses": [{"id": "x", "status": 200}, 3]}]
)
def test_an_unreadable_envelope_means_nobody_knows(body: Any) -> None:
    assert [answer.status for answer in read(200, body, 2)] == [LOST, LOST]


def test_a_refused_envelope_counts_for_every_request() -> None:
    answers = read(503, {"error": {}}, 2, **{"retry-after": "9"})
    assert [(answer.status, answer.retry_after_seconds) for answer in answers] == [(503, 9.0)] * 2


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("3", 3), ("0.2", 1), (7, 7), (None, None), ("soon", None), ("-1", None), ("1e9", 3600), ("nan", None)],
)
def test_retry_after(value: object, seconds: float | None) -> None:
    assert retry_after_seconds(value) == seconds


# sign-in --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("codes", "kind", "retryable"),
    [
        ([7000222], CredentialRefused, False), ([700027], CredentialRefused, True), ([700016], CredentialRefused, True),
        ([90033], Unavailable, True), ([123456], CredentialRefused, False), ([], CredentialRefused, False),
    ],
)  # fmt: skip
def test_sign_in_errors(codes: list[int], kind: type[Exception], retryable: bool) -> None:
    error = outcome_of({"error": "invalid_client", "error_codes": codes, "error_description": "holds the secret"})
    assert isinstance(error, kind)
    assert error.retryable is retryable
    assert "holds the secret" not in str(error.__dict__)


@pytest.mark.parametrize("token", ["opaque", "a.b.c", "", "a.bm9uc2Vuc2U.c"])
def test_an_opaque_token_has_no_claims(token: str) -> None:
    assert read_claims(token) == {}


def test_clouds() -> None:
    assert cloud_of("gcc-high").scope == "https://graph.microsoft.us/.default"
    assert cloud_of("commercial", "https://sim/", "https://sim/v1.0/").graph_url == "https://sim/v1.0"
    assert cloud_of("commercial", "https://sim/").scope == "https://graph.microsoft.com/.default"


# the vault ------------------------------------------------------------------------------------------------------------
def test_a_secret_goes_from_their_seal_to_ours_and_shows_nowhere() -> None:
    key = SealingKey.generate()
    vault = SealedVault(key, Sealer({"k1": bytes(32)}, "k1"))
    credential_id = UUID(int=7)
    plaintext = orjson.dumps({"client_secret": "hunter2"})
    jwe = seal_for(key.public_jwk, plaintext, context=f"credential:{credential_id}")
    sealed = vault.take(credential_id, jwe)
    assert b"hunter2" not in sealed
    credential = Credential(
        credential_id, TENANT, "n", "c", "a", "o", "commercial", CredentialKind.CLIENT_SECRET, None, None, None
    )
    opened = vault.open(credential, sealed)
    assert opened.client_secret == "hunter2"
    assert "hunter2" not in repr(opened)
    with pytest.raises(InvalidInput):
        vault.take(UUID(int=8), jwe)
