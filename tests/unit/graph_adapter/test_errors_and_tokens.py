"""Reactions every operation shares: throttling, unavailability, stale tokens, lagging replicas."""

import pytest

from graph_adapter.domain.progress import LOST, NOT_SENT, Answer, Finished, Pauses, Wait
from support.graph_script import Script, catalogue, error

READ = ("user.patch", {"user_id": "U1", "attributes": {"city": "Bern"}})


def test_the_longest_retry_after_of_a_step_counts() -> None:
    script = Script("user.get", {"user": "U1"})
    script.hears(error(429, after=3), error(429, after=11))
    assert (script.wait.seconds, script.wait.throttled) == (11, True)
    assert not script.progress.uncertain


def test_throttling_without_retry_after_waits_the_default() -> None:
    script = Script(*READ, pauses=Pauses(throttle_default_seconds=42)).hears(error(429))
    assert script.wait.seconds == 42


def test_a_stale_token_is_renewed_once_and_then_final() -> None:
    script = Script(*READ).hears(error(401, "Lifetime validation failed.", "InvalidAuthenticationToken"))
    assert script.wait.renew
    assert script.asks() == ["GET /users/U1?$select=id,city"]
    script.hears(error(401))
    assert (script.code, script.result.outcome) == ("credential", "failed")


@pytest.mark.parametrize("answer", [error(500), error(502), error(503), error(504), Answer(LOST), Answer(NOT_SENT)])
def test_a_read_is_repeated_with_growing_pauses_within_bounds(answer: Answer) -> None:
    pauses = Pauses(transient=(1, 2, 3))
    script = Script(*READ, pauses=pauses)
    waits = []
    for _ in range(10):
        last = script.hears(answer).last
        if isinstance(last, Finished):
            break
        assert isinstance(last, Wait)
        waits.append(last.seconds)
    assert waits == [1, 2, 3]
    assert script.result.error is not None
    assert script.result.error.retryable


def test_retry_after_of_an_unavailable_service_is_respected() -> None:
    assert Script(*READ).hears(error(503, after=20)).wait.seconds == 20


def test_the_reply_holds_microsofts_words_and_the_least_permission() -> None:
    script = Script(*READ).hears(error(403, "Insufficient privileges.", "Authorization_RequestDenied"))
    assert script.result.error is not None
    assert script.result.error.detail == {
        "status": 403,
        "graph_code": "Authorization_RequestDenied",
        "graph_message": "Insufficient privileges.",
        "permissions": ["User.ReadWrite.All"],
    }


def test_every_request_id_is_kept() -> None:
    script = Script(*READ).hears(Answer(200, {"id": "U1", "city": "Basel"}, "first")).hears(Answer(204, None, "second"))
    assert script.progress.request_ids == ["first", "second"]


@pytest.mark.parametrize("body", [None, [], "text", 7, {"error": None}, {"error": "text"}, {"error": {"details": 1}}])
def test_recognising_is_total(body: object) -> None:
    assert catalogue().errors.recognise(400, body).row.name == "rejected"


@pytest.mark.parametrize("body", [None, [], "text", {}, {"value": "text"}, {"value": [1]}, {"value": None}])
@pytest.mark.parametrize("operation", ["user.observe", "tenant.observe", "tenant.probe"])
def test_a_nonsensical_answer_ends_the_operation_and_not_the_worker(operation: str, body: object) -> None:
    params = {"employee_id": "1", "upn_candidates": ["a@b.example"]} if operation == "user.observe" else {}
    script = Script(operation, params)
    count = len(script.asks())
    last = script.hears(*[Answer(200, body)] * count).last
    assert not isinstance(last, Wait)
