"""Seats, numbers and names of a batch: nobody gets what somebody has, and a shortage takes nothing."""

from collections import deque
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.numbers import FreeNumber
from orchestrator.domain.reservations import Claim, Ledger, NoName, NoNumbers, NoSeats, Reservation, UpnChoice
from orchestrator.domain.seats import SeatPool
from support.plan_script import TENANT


def pool(sku="E5", enabled=5, consumed=0, held=0, status="Enabled", warning=0):
    return SeatPool(sku, sku, status, enabled, warning, consumed, held)


def ledger(*pools, numbers=(), reserved=()):
    free = {("northwind", "zurich"): deque(FreeNumber(number, "DirectRouting", None) for number in numbers)}
    return Ledger({(TENANT, each.sku_id): each for each in pools}, free, {(TENANT, name) for name in reserved})


def claim(n=1, **fields):
    given_fields = {
        "plan_id": UUID(int=n),
        "person_id": UUID(int=1_000 + n),
        "tenant_id": TENANT,
        "customer": "northwind",
        "local": "ada.lee",
        "domain": "x.example",
        **fields,
    }
    return Claim(**given_fields)


def test_the_lowest_number_and_the_plain_name_come_first():
    got = ledger(pool(), numbers=["+411", "+412"]).reserve(claim(seats=("E5",), site="zurich"))
    assert got == Reservation(
        UpnChoice("ada.lee@x.example", "ada.lee@x.example", 1), FreeNumber("+411", "DirectRouting", None), ("E5",)
    )


def test_a_shortage_of_anything_takes_nothing():
    short = ledger(pool("E5"), pool("PSTN", enabled=1, consumed=1), numbers=["+411"])
    assert isinstance(short.reserve(claim(seats=("E5", "PSTN"), site="zurich")), NoSeats)
    assert short.pools[TENANT, "E5"].held == 0
    assert len(short.free["northwind", "zurich"]) == 1
    empty = ledger(pool("E5"))
    assert empty.reserve(claim(seats=("E5",), site="zurich")) == NoNumbers("northwind", "zurich")
    assert empty.pools[TENANT, "E5"].held == 0


def test_a_suspended_pool_has_no_seats_and_a_warned_one_has():
    assert isinstance(ledger(pool(status="Suspended")).reserve(claim(seats=("E5",))), NoSeats)
    warned = ledger(pool(status="Warning", enabled=0, warning=1))
    assert isinstance(warned.reserve(claim(seats=("E5",))), Reservation)


def test_names_skip_what_colleagues_reserved_and_what_the_tenant_has():
    got = ledger(reserved=["ada.lee@x.example"]).reserve(claim(taken=frozenset({"ada.lee2@x.example"})))
    assert isinstance(got, Reservation)
    assert got.upn == UpnChoice("ada.lee3@x.example", "ada.lee@x.example", 3)


def test_ten_names_of_others_are_enough():
    names = ["ada.lee@x.example", *[f"ada.lee{n}@x.example" for n in range(2, 11)]]
    got = ledger().reserve(claim(taken=frozenset(names)))
    assert isinstance(got, NoName)
    assert [choice.upn for choice in got.taken] == names


def test_a_name_that_cannot_be_written_is_refused():
    assert ledger().reserve(claim(local="")) == NoName(())


@given(
    claims=st.lists(
        st.tuples(
            st.sampled_from([(), ("E5",), ("E5", "PSTN")]), st.booleans(), st.sampled_from(["ada", "bob", "eve"])
        ),
        max_size=40,
    ),
    e5=st.integers(0, 20),
    pstn=st.integers(0, 20),
    numbers=st.integers(0, 20),
)
def test_no_batch_promises_more_than_there_is(claims, e5, pstn, numbers):
    inventory = [f"+4144555{n:04d}" for n in range(numbers)]
    book = ledger(pool("E5", enabled=e5), pool("PSTN", enabled=pstn), numbers=inventory)
    got = [
        book.reserve(claim(n, seats=seats, site="zurich" if numbered else None, local=local))
        for n, (seats, numbered, local) in enumerate(claims)
    ]
    reserved = [each for each in got if isinstance(each, Reservation)]
    names = [each.upn.upn for each in reserved]
    given_numbers = [each.number.number for each in reserved if each.number]
    assert len(set(names)) == len(names)
    assert given_numbers == inventory[: len(given_numbers)]
    for sku, enabled in (("E5", e5), ("PSTN", pstn)):
        assert sum(sku in each.seats for each in reserved) == book.pools[TENANT, sku].held <= enabled
    # A refusal is never without a reason: what it names is really gone.
    for each in got:
        if isinstance(each, NoSeats):
            assert each.pool.held == each.pool.enabled
        if isinstance(each, NoNumbers):
            assert len(given_numbers) == numbers
