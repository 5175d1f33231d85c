"""Whose turn it is: one operation a target, in order, whatever ends when. Random runs; the seed is printed."""

import random
from datetime import UTC, datetime
from uuid import UUID

from graph_adapter.domain.operation import Command, Lane, LeasedOperation
from graph_adapter.domain.turns import Turns

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def operation(number: int, target: str) -> LeasedOperation:
    command = Command(UUID(int=number), "x", 1, "tenant", target, {}, NOW, "replies", None, Lane.NORMAL, "active", None)
    return LeasedOperation(command, 1, NOW, None, False)


def test_the_first_of_each_target_then_the_next_when_it_has_ended() -> None:
    a1, b1, a2 = (operation(n, target) for n, target in enumerate(("a", "b", "a")))
    turns = Turns([a1, b1, a2])
    assert turns.next() == [a1, b1]
    assert turns.next() == []
    turns.ended(b1)
    assert turns.next() == []
    turns.ended(a1)
    assert turns.next() == [a2]


def test_given_up_ones_never_have_their_turn() -> None:
    a1, a2, b1, b2 = (operation(n, target) for n, target in enumerate("aabb"))
    turns = Turns([a1, a2, b1, b2])
    assert turns.next() == [a1, b1]
    assert turns.give_up("a") == [a2]
    turns.ended(a1)
    turns.ended(b1)
    assert turns.give_up_all() == [b2]
    assert turns.next() == []


def test_every_operation_has_its_turn_once_and_never_beside_another_of_its_target() -> None:
    for seed in range(200):
        print("seed", seed)
        draw = random.Random(seed)
        operations = [operation(n, draw.choice("abcd")) for n in range(draw.randint(1, 30))]
        turns, under_way, done = Turns(operations), [], []
        while under_way := under_way + turns.next():
            targets = [each.command.target for each in under_way]
            assert len(targets) == len(set(targets))
            ended = under_way.pop(draw.randrange(len(under_way)))
            done.append(ended)
            turns.ended(ended)
        assert len(done) == len(operations)
        for target in "abcd":
            assert [each for each in done if each.command.target == target] == [
                each for each in operations if each.command.target == target
            ]
