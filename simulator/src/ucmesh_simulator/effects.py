"""How often licences and numbers really changed hands in a tenant. Owns the counts, by the person's employee id: they
outlive a user who is deleted and made again. Refuses what changed nothing: a repeated request leaves no trace here."""

from collections import Counter
from typing import Literal

from ucmesh_simulator.objects import User

Kind = Literal["licence", "number"]


class Effects:
    """One line a person and thing: how often it was given to them and taken from them."""

    def __init__(self) -> None:
        self._given: Counter[tuple[str, Kind, str]] = Counter()
        self._taken: Counter[tuple[str, Kind, str]] = Counter()

    def given(self, user: User, kind: Kind, what: str) -> None:
        self._given[_person(user), kind, what] += 1

    def taken(self, user: User, kind: Kind, what: str) -> None:
        self._taken[_person(user), kind, what] += 1

    def as_list(self) -> list[dict[str, str | int]]:
        return [
            {"person": key[0], "kind": key[1], "what": key[2], "given": self._given[key], "taken": self._taken[key]}
            for key in dict.fromkeys([*self._given, *self._taken])
        ]


def _person(user: User) -> str:
    """The employee id, or the address of somebody without one."""
    return str(user.props.get("employeeId") or user.upn)
