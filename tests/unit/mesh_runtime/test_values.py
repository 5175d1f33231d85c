"""A lean value behaves as the frozen dataclass it stands for, except that only mypy refuses an assignment."""

from dataclasses import dataclass, replace

from mesh_runtime.values import lean_dataclass


@dataclass(frozen=True, slots=True)
class Frozen:
    name: str
    count: int = 1


@lean_dataclass(frozen=True, slots=True)
class Lean:
    name: str
    count: int = 1


def test_equality_hash_and_text_are_those_of_the_frozen_one() -> None:
    assert Lean("a") == Lean("a", 1) != Lean("a", 2)
    assert hash(Lean("a")) == hash(Frozen("a"))
    assert repr(Lean("a")) == repr(Frozen("a")).replace("Frozen", "Lean")
    assert {Lean("a"), Lean("a")} == {Lean("a")}


def test_it_has_no_room_for_anything_else_and_can_be_replaced() -> None:
    assert not hasattr(Lean("a"), "__dict__")
    assert replace(Lean("a"), count=3) == Lean("a", 3)
