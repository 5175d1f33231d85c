"""Operations whose end is not known: what may have happened, and what is done about it."""

import pytest

from pwsh_gateway.domain.operations import Intent, Undo
from pwsh_gateway.domain.procedure import Again
from pwsh_gateway.domain.protocol import Answer, CmdletError, Lost, Raised, Returned
from support.procedures import (
    ASSIGN,
    GRANT,
    NUMBER,
    UNAVAILABLE,
    done,
    play,
    shape,
    user,
)


@pytest.mark.parametrize(
    ("answers", "ambiguous"),
    [
        ([UNAVAILABLE], False),
        ([Lost("hung")], False),
        ([user(), Lost("hung")], True),
        ([user(), UNAVAILABLE], True),
        ([user(), Raised(CmdletError("late", fqid="UcmeshTimeout"))], True),
        ([user(), Raised(CmdletError("Too many requests", http=429))], False),
    ],
)
def test_only_a_write_without_a_clear_answer_leaves_the_state_unknown(answers: list[Answer], ambiguous: bool) -> None:
    _, conclusion = play("teams.number.assign", ASSIGN, answers)
    assert isinstance(conclusion, Again)
    assert conclusion.ambiguous is ambiguous


INTENT = Intent({"LineURI": None})


def test_after_an_unknown_end_an_effect_that_is_there_is_ours() -> None:
    steps, conclusion = play("teams.number.assign", ASSIGN, [user(LineURI=f"tel:{NUMBER}")], intent=INTENT)
    assert shape(steps) == ["Get-CsOnlineUser"]
    verdict = done(conclusion).verdict
    assert verdict.changed
    assert verdict.undo == Undo("teams.number.unassign", 1, ASSIGN)


def test_after_an_unknown_end_an_effect_that_is_not_there_is_made() -> None:
    steps, conclusion = play("teams.number.assign", ASSIGN, [user(LineURI=None), Returned(())], intent=INTENT)
    assert shape(steps) == ["Get-CsOnlineUser", {"LineURI": None}, "Set-CsPhoneNumberAssignment"]
    assert done(conclusion).verdict.changed


def test_an_undo_after_an_unknown_end_names_what_was_there_at_first() -> None:
    intent = Intent({"TeamsCallingPolicy": "Old"})
    _, conclusion = play("teams.policy.grant", GRANT, [user(TeamsCallingPolicy="AllowCalling")], intent=intent)
    assert done(conclusion).verdict.undo == Undo("teams.policy.grant", 1, GRANT | {"policy_name": "Old"})


def test_beyond_the_deadline_it_only_looks() -> None:
    _, late = play("teams.number.assign", ASSIGN, [user(LineURI=None)], intent=INTENT, may_write=False)
    verdict = done(late).verdict
    assert verdict.problem is not None
    assert verdict.problem.code == "deadline-exceeded"
    _, there = play("teams.number.assign", ASSIGN, [user(LineURI=f"tel:{NUMBER}")], intent=INTENT, may_write=False)
    assert done(there).verdict.outcome == "succeeded"


def test_an_undo_soon_after_a_grant_does_not_believe_the_stale_read() -> None:
    """Get-CsOnlineUser shows a grant late: it still answers the former policy, which is what the undo asks for."""
    stale = user(TeamsCallingPolicy="Old")
    steps, conclusion = play(
        "teams.policy.grant",
        GRANT | {"policy_name": "Old"},
        [stale, Returned(())],
        overlay={"TeamsCallingPolicy": "AllowCalling"},
    )
    assert shape(steps)[-1] == "Grant-CsTeamsCallingPolicy"
    verdict = done(conclusion).verdict
    assert verdict.changed
    assert verdict.output == {"former": "AllowCalling"}


def test_a_second_grant_of_the_same_policy_is_no_change_although_the_read_is_stale() -> None:
    steps, conclusion = play(
        "teams.policy.grant",
        GRANT,
        [user(TeamsCallingPolicy="Old"), Returned(())],
        overlay={"TeamsCallingPolicy": "AllowCalling"},
    )
    assert len(steps) == 3
    verdict = done(conclusion).verdict
    assert (verdict.changed, verdict.undo) == (False, None)
