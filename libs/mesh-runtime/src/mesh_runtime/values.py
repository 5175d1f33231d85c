"""Values that are made by the hundred thousand: immutable to the type checker, as cheap as plain objects at run time.

Owns `lean_dataclass`, for the values of hot paths. A frozen dataclass pays a call for each field it sets, four to six
times the cost of a plain one; here mypy refuses the assignment, as it does for `dataclass(frozen=True)`, and nothing
is paid while the program runs. Elsewhere use `dataclass(frozen=True, slots=True)`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as lean_dataclass
else:
    from dataclasses import dataclass

    def lean_dataclass(*, frozen: bool, slots: bool, kw_only: bool = False):
        """`@lean_dataclass(frozen=True, slots=True)`: equality, hash and repr are those of the frozen dataclass."""
        return dataclass(slots=slots, unsafe_hash=frozen, kw_only=kw_only)


__all__ = ["lean_dataclass"]
