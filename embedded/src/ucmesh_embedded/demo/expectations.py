"""What must have become of the feeds (examples/hr/expected.yaml). Pure: outcomes in, complaints out."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

PROVISIONED = "provisioned"


@dataclass(frozen=True, slots=True)
class Expectations:
    """Outcomes are ``status`` or ``status reason-code``, as in ``refused no-seats``."""

    people: Mapping[str, str]
    groups: tuple[tuple[frozenset[str], Mapping[str, int]], ...]

    @classmethod
    def read(cls, file: Path) -> "Expectations":
        """ValueError when a person is in two places."""
        document = yaml.safe_load(file.read_text("utf-8"))
        groups = tuple((frozenset(each["who"]), dict(each["outcomes"])) for each in document["groups"])
        twice = [who for who, n in Counter([*document["people"], *(w for g, _ in groups for w in g)]).items() if n > 1]
        if twice:
            raise ValueError(f"{file}: {', '.join(twice)} is expected twice")
        return cls(dict(document["people"]), groups)

    def complaints(self, outcomes: Mapping[str, str]) -> list[str]:
        """One sentence for everything that is not as expected; ``outcomes`` by employee id."""
        found = [
            f"{who} should be {expected}, and is {outcomes.get(who, 'unknown')}."
            for who, expected in self.people.items()
            if outcomes.get(who) != expected
        ]
        grouped: set[str] = set()
        for who, expected in self.groups:
            grouped |= who
            counted = Counter(outcomes.get(each, "unknown") for each in who)
            if dict(counted) != dict(expected):
                found.append(f"Of {', '.join(sorted(who))}: expected {_text(expected)}, found {_text(counted)}.")
        found += [
            f"{who} should be {PROVISIONED}, and is {outcome}."
            for who, outcome in sorted(outcomes.items())
            if who not in self.people and who not in grouped and outcome != PROVISIONED
        ]
        return found


def _text(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
