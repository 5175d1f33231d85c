"""Desired against observed, line by line, for people: what a person should have and what was last read back.

Owns the lines and their verdicts. Refuses to judge what nobody read: that is "not read", never "differs".
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["same", "differs", "missing", "not-read"]


@dataclass(frozen=True, slots=True)
class Line:
    """One thing of one workload. `observed` is None when it was not read or is not there."""

    workload: str
    item: str
    desired: Any
    observed: Any
    verdict: Verdict


def compare(
    desired: Mapping[str, Any] | None, observed: Mapping[str, Any] | None, *, upn: str | None, number: str | None
) -> list[Line]:
    """Lines in the order Entra ID, licences, groups, Exchange, Teams; [] for a person nothing was planned for."""
    if not desired:
        return []
    reads = observed or {}
    return [
        *_entra(desired, reads.get("entra"), upn),
        *_exchange(desired, reads.get("exchange")),
        *_teams(desired, reads.get("teams"), number),
    ]


@dataclass(frozen=True, slots=True)
class _Read:
    """One section of a read; `values` is None when nothing was read, {} when the thing is not there."""

    workload: str
    values: Mapping[str, Any] | None

    def line(self, item: str, desired: Any) -> Line:
        known = self.values is not None and (not self.values or item in self.values)
        return _judged(self.workload, item, desired, (self.values or {}).get(item), known)

    def member(self, item: str, name: str, *, is_there: bool) -> Line:
        return _judged(self.workload, item, name, name if is_there else None, self.values is not None)


def _section(workload: str, read: Mapping[str, Any] | None, name: str) -> _Read:
    return _Read(workload, None if read is None else read.get(name) or {})


def _entra(desired: Mapping[str, Any], read: Mapping[str, Any] | None, upn: str | None) -> Iterator[Line]:
    user = _section("entra", read, "user")
    values = user.values or {}
    yield user.line("userPrincipalName", upn)
    for name, value in desired["attributes"].items():
        yield user.line(name, value)
    skus = {str(each.get("skuId")).lower() for each in values.get("assignedLicenses") or ()}
    for licence in desired["licences"]:
        yield user.member("licence", licence["part_number"], is_there=licence["sku_id"] in skus)
    groups = set((read or {}).get("group_ids") or values.get("group_ids") or ())
    for group_id, name in desired["groups"].items():
        yield user.member("group", name, is_there=group_id in groups)


def _exchange(desired: Mapping[str, Any], read: Mapping[str, Any] | None) -> Iterator[Line]:
    if desired["has_mailbox"]:
        mailbox, cas = _section("exchange", read, "mailbox"), _section("exchange", read, "cas")
        yield mailbox.member("mailbox", "mailbox", is_there=bool(mailbox.values))
        yield from (mailbox.line(name, value) for name, value in desired["mailbox"].items())
        yield from (cas.line(name, value) for name, value in desired["cas_mailbox"].items())


def _teams(desired: Mapping[str, Any], read: Mapping[str, Any] | None, number: str | None) -> Iterator[Line]:
    user = _section("teams", read, "user")
    if desired["wants_number"]:
        uri = str((user.values or {}).get("LineURI") or "").lower().removeprefix("tel:") or None
        yield _judged("teams", "number", number, uri, user.values is not None)
    yield from (user.line(kind, name) for kind, name in desired["teams_policies"].items())


def _judged(workload: str, item: str, desired: Any, observed: Any, was_read: bool) -> Line:
    if not was_read:
        return Line(workload, item, desired, None, "not-read")
    if _folded(observed) == _folded(desired):
        return Line(workload, item, desired, observed, "same")
    return Line(workload, item, desired, observed, "missing" if observed is None else "differs")


def _folded(value: Any) -> Any:
    if isinstance(value, str):
        return value.casefold()
    if isinstance(value, Sequence):
        return [_folded(each) for each in value]
    return value
