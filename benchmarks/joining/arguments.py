"""The command line of joiner.py."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reporting import program

from joining import rival
from joining.stand import TRACE_RATIO

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
    sizes = {
        "joiners": (3_000, 20),
        "warm-up": (1_000, 10),
        "floor-joiners": (5_000, 40),
        "rival-joiners": (300, 5),
        "rival-at-once": (10, 2),
    }
    texts = {
        "joiners": "through the mesh",
        "warm-up": "through the mesh before the clock starts",
        "floor-joiners": "through the bare pipeline; 0: without it",
        "rival-joiners": "through DBOS, each time; 0: without it",
        "rival-at-once": "workflows under way in one DBOS process",
    }
    parser = program.parser(about, sizes, texts)
    parser.add_argument("--rival-processes", type=int, nargs="*", help="1 2; none: the mesh alone")
    parser.add_argument("--rival-requests", choices=REQUESTS, help="both; same: those of the mesh; one: one a step")
    parser.add_argument("--trace-ratio", type=float, default=TRACE_RATIO)
    parser.add_argument("--profile", type=Path, help="sample the services, count SQL statements; keep the stacks here")
    given = program.sized(parser.parse_args(argv), sizes)
    if given.rival_processes is None:
        given.rival_processes = [1] if given.quick else [1, 2]
    given.rival_requests = given.rival_requests or ("same" if given.quick else "both")
    settings = Settings(
        joiners=given.joiners,
        warm_up=given.warm_up,
        floor_joiners=given.floor_joiners,
        rival_joiners=given.rival_joiners,
        rival_processes=given.rival_processes if given.rival_joiners else [],
        rival_at_once=given.rival_at_once,
        rival_requests=REQUESTS[given.rival_requests],
        seed=given.seed,
        trace_ratio=given.trace_ratio,
        profile=given.profile and given.profile.absolute(),
    )
    return settings, given
