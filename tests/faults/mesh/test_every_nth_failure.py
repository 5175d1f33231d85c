"""The n-th statement, publish and call of a joiner fails: before, after its effect, or refused; nothing is different
in the end.

Method: proxies in front of PostgreSQL, Kafka and the tenant count what each service asks for. First nobody is
disturbed, and what was asked is noted. Then, for each thing asked, the first, second, third… time of it fails once,
with one joiner each, until a joiner goes through without that many times. What the tenant holds of them must be what it
holds of the undisturbed one.

A statement that a service repeats while it waits would go on without end: its first TIMES_MAX times are looked at.
A sample of POINTS is drawn from the seed that is printed, or that UCMESH_SEED gives, two of three of them publishes and
calls. UCMESH_NTH=300 draws as many, UCMESH_NTH=all tries everything and takes long; UCMESH_NTH_PART=1/4 to 4/4 are runs
that share the points among them.
"""

import os
import random
import ssl
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from support import joiners
from support.joiners import Office
from support.mesh import running
from support.real_parts import server_folder
from support.tripwire import How, HttpConnection, KafkaConnection, Point, PostgresConnection, Trip, Wire
from ucmesh_embedded import topology
from ucmesh_embedded.keys import Keys
from ucmesh_embedded.places import Places

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.timeout(7200)]

TIMES_MAX = 5
POINTS = 20
UNDISTURBED = 3
SEATS = 10_000
QUICK = {"LEASE_SECONDS": "2"}
SEED = int(os.environ.get("UCMESH_SEED") or random.SystemRandom().randrange(1_000_000))


@pytest.fixture(scope="module")
def trip() -> Trip:
    return Trip()


@pytest.fixture(scope="module")
def office(trip: Trip) -> Iterator[Office]:
    with server_folder() as folder:
        home = folder / "home"
        places = Places.of(home)
        places.make()
        wires = {
            "postgres": Wire(trip, PostgresConnection),
            "kafka": Wire(trip, KafkaConnection),
            "simulator": Wire(trip, HttpConnection, tls=contexts(Keys(places.keys))),
        }
        with running(home, options(), proxies=wires) as mesh:
            made = Office(mesh)
            made.register("northwind")
            made.make_room(SEATS)
            yield made


def options() -> topology.Options:
    plain = joiners.options()
    quick = {
        name: {f"{topology.database(name).upper()}_{key}": value for key, value in QUICK.items()}
        for name in ("graph-adapter", "pwsh-gateway")
    }
    return replace(plain, environment={**plain.environment, **quick}, trace_ratio=0, pwsh=False, crashes_max=1_000)


def contexts(keys: Keys) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What the proxy shows to services, and how it looks at the tenant."""
    keys.issue_server_certificate()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(keys.server_cert_file, keys.server_key_file)
    asking = ssl.create_default_context(cafile=str(keys.ca_file))
    return serving, asking


class Loop:
    """Joiner after joiner, each with one failure."""

    def __init__(self, office: Office, trip: Trip) -> None:
        self._office = office
        self._trip = trip
        self.untouched, self.seen = self._join(None)
        for _ in range(UNDISTURBED - 1):
            proof, seen = self._join(None)
            assert proof == self.untouched
            self.seen |= seen

    def fails(self, point: Point) -> bool:
        """Whether the joiner met the failure; however that is, they end as the undisturbed one, and no service ends."""
        told = len(self._office.mesh.told)
        proof, _ = self._join(point)
        assert proof == self.untouched, str(point)
        for line in self._office.mesh.told[told:]:
            name = line.partition(":")[0]
            assert "starting it again" not in line, f"{point}\n{line}\n{self._office.mesh.log(name)}"
        return self._trip.tripped

    def _join(self, point: Point | None) -> tuple[dict, Counter[tuple[str, str]]]:
        data = self._office.person()
        self._trip.arm(point)
        self._office.send_until_taken(data)
        person = self._office.wait(data)
        seen = Counter(self._trip.seen)
        tripped = self._trip.tripped
        self._trip.arm(None)
        self._trip.tripped = tripped
        assert person["status"] == "provisioned", f"{point}: {person['reason']}"
        assert len(self._office.users(data)) == 1, str(point)
        return self._office.proof(data), seen


def points(seen: Counter[tuple[str, str]]) -> list[Point]:
    """Every point as far as the undisturbed joiners have shown it."""
    found = []
    for (who, what), times in sorted(seen.items()):
        hows: tuple[How, ...] = ("before", "after") if is_other(what) else ("before", "after", "refused")
        most = times if is_other(what) else min(times, TIMES_MAX)
        found += [Point(who, what, n, how) for n in range(1, most + 1) for how in hows]
    return found


def is_other(what: str) -> bool:
    return what in ("publish", "call")


def sample(everything: list[Point], wanted: str) -> list[Point]:
    if wanted == "all":
        return everything
    draw, count = random.Random(SEED), int(wanted)
    others = [point for point in everything if is_other(point.what)]
    statements = [point for point in everything if not is_other(point.what)]
    chosen = draw.sample(others, min(count * 2 // 3, len(others)))
    return chosen + draw.sample(statements, min(count - len(chosen), len(statements)))


def part(chosen: list[Point], wanted: str) -> list[Point]:
    """Those of the part `n/of`. Runs that share the points see slightly different ones, so each is drawn by itself."""
    number, of = (int(word) for word in wanted.split("/"))
    return [point for point in chosen if zlib.crc32(str(point).encode()) % of == number - 1]


def test_a_joiner_ends_the_same_whatever_fails_once(office: Office, trip: Trip) -> None:
    loop = Loop(office, trip)
    everything = points(loop.seen)
    chosen = sample(everything, os.environ.get("UCMESH_NTH") or str(POINTS))
    chosen = part(chosen, os.environ.get("UCMESH_NTH_PART") or "1/1")
    met, broken = 0, list[str]()
    of_others = sum(1 for point in everything if is_other(point.what))
    print(f"seed {SEED}: {len(chosen)} of {len(everything)} points, {of_others} of them publishes and calls")
    for point in chosen:
        try:
            met += loop.fails(point)
        except AssertionError as error:
            broken.append(str(error))
            print(error)
    print(f"{met} of them were met")
    assert not broken, "\n".join(broken)
    assert met > len(chosen) / 2
    for name in topology.SERVICES:
        with office.mesh.client(name) as client:
            assert client.get("/dead-letters").raise_for_status().json()["items"] == []
        office.mesh.settled(name)
