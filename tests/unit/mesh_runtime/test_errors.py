"""The outcome family: stable codes, statuses, and what a raiser may override."""

import pickle

import pytest

from mesh_runtime import errors


@pytest.mark.parametrize(
    ("kind", "status", "code", "retryable"),
    [
        (errors.MeshError, 500, "internal", False),
        (errors.InvalidInput, 422, "invalid-input", False),
        (errors.NotFound, 404, "not-found", False),
        (errors.Conflict, 409, "conflict", False),
        (errors.Refused, 409, "refused", False),
        (errors.Unauthenticated, 401, "unauthenticated", False),
        (errors.Forbidden, 403, "forbidden", False),
        (errors.Unavailable, 503, "unavailable", True),
        (errors.TooLarge, 413, "too-large", False),
    ],
)
def test_every_outcome_has_its_status_code_and_retryability(kind, status, code, retryable):
    error = kind("what happened")
    assert (error.status, error.code, error.retryable) == (status, code, retryable)
    assert (str(error), error.remedy, error.detail) == ("what happened", None, {})


def test_a_raiser_may_say_more_without_changing_the_class():
    error = errors.Refused("no seats", code="no-seats", retryable=True, remedy="buy some", detail={"sku": "E5"})
    assert (error.code, error.retryable, error.remedy, error.detail) == ("no-seats", True, "buy some", {"sku": "E5"})
    assert (errors.Refused.code, errors.Refused.retryable) == ("refused", False)


def test_an_outcome_survives_a_process_boundary():
    copy = pickle.loads(pickle.dumps(errors.Conflict("changed", code="stale", detail={"version": 3})))
    assert (type(copy), copy.code, copy.detail, str(copy)) == (errors.Conflict, "stale", {"version": 3}, "changed")
