"""The command line of `./dev bench`."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from joining import rival

REQUESTS = {"both": (True, False), "same": (True,), "one": (False,)}


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked for."""

    joiners: int
    warm_up: int
    floor_joiners: int
    """Through the bare pipeline; 0: it does not run."""
    rival_joiners: int
    rival_processes: Sequence[int]
    rival_at_once: int
    rival_requests: Sequence[bool]
    """True: the mesh's requests, False: one a step."""
    seed: int
    trace_ratio: float
    profile: Path | None

    @property
    def seats(self) -> int:
        """Enough for everybody of either side, warm-up and manager included."""
        rivals = sum(self.rival_joiners + rival.WARM_UP_EACH * n for n in self.rival_processes)
        return self.joiners + self.warm_up + rivals * len(self.rival_requests) + 10


def read_arguments(argv: Sequence[str], about: str) -> tuple[Settings, argparse.Namespace]:
    parser = argparse.ArgumentParser(
        prog="./dev bench", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--joiners", type=int, default=3_000, help="through the mesh")
    parser.add_argument("--warm-up", type=int, default=1_000, help="through the mesh before the clock starts")
    parser.add_argument("--floor-joiners", type=int, default=5_000, help="through the bare pipeline; 0: without it")
    parser.add_argument("--rival-joiners", type=int, default=300, help="through DBOS, each time")
    parser.add_argument("--rival-processes", type=int, nargs="*", default=[1, 2], help="none: the mesh alone")
    parser.add_argument("--rival-at-once", type=int, default=10, help="workflows under way in one DBOS process")
    parser.add_argument(
        "--rival-requests", choices=REQUESTS, default="both", help="same: those of the mesh; one: one a step"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trace-ratio", type=float, default=0.01)
    parser.add_argument("--profile", type=Path, help="sample the services, count SQL statements; keep the stacks here")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    given = parser.parse_args(argv)
    settings = Settings(
        joiners=given.joiners,
        warm_up=given.warm_up,
        floor_joiners=given.floor_joiners,
        rival_joiners=given.rival_joiners,
        rival_processes=given.rival_processes,
        rival_at_once=given.rival_at_once,
        rival_requests=REQUESTS[given.rival_requests],
        seed=given.seed,
        trace_ratio=given.trace_ratio,
        profile=given.profile and given.profile.absolute(),
    )
    return settings, given
