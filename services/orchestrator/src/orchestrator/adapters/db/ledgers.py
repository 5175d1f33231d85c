"""The ledgers in PostgreSQL (port `Ledgers`): seats, numbers and names. Holds no state."""

from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_runtime.errors import Unavailable
from orchestrator.adapters.db import ledgers_sql as sql
from orchestrator.domain.naming import upn_candidate
from orchestrator.domain.numbers import FreeNumber
from orchestrator.domain.reservations import Claim, Ledger, Reservation, UpnChoice
from orchestrator.domain.seats import SeatPool
from orchestrator.domain.stores import HeldNumber, Kept, Shelf

Pair = tuple[str, str]
Chosen = Sequence[tuple[Claim, Reservation]]


class DatabaseLedgers:
    async def lock(self, tx: AsyncConnection, tenant_ids: Sequence[str]) -> None:
        if tenant_ids:
            await tx.execute(sql.LOCK, {"tenant_ids": list(tenant_ids)})

    async def occupied(self, tx: AsyncConnection, bases: Collection[Pair]) -> Mapping[Pair, list[int]]:
        if not bases:
            return {}
        rows = await tx.execute(sql.OCCUPIED, {"tenant_ids": [t for t, _ in bases], "bases": [b for _, b in bases]})
        return {(row.tenant_id, row.base): list(row.ordinals) for row in rows}

    async def kept(self, tx: AsyncConnection, person_ids: Collection[UUID]) -> Mapping[UUID, Kept]:
        if not person_ids:
            return {}
        ids = {"person_ids": list(person_ids)}
        names: dict[UUID, list[UpnChoice]] = {}
        for row in await tx.execute(sql.KEPT_NAMES, ids):
            names.setdefault(row.person_id, []).append(UpnChoice(row.upn, row.base, row.ordinal))
        numbers: dict[UUID, Any] = {}
        for row in await tx.execute(sql.KEPT_NUMBERS, ids):
            numbers.setdefault(row.person_id, row)
        seats = {row.person_id: frozenset(row.skus) for row in await tx.execute(sql.KEPT_SEATS, ids)}
        return {
            person_id: Kept(
                tuple(names.get(person_id, ())), *_number(numbers.get(person_id)), seats.get(person_id, frozenset())
            )
            for person_id in names.keys() | numbers.keys() | seats.keys()
        }

    async def open(self, tx: AsyncConnection, claims: Sequence[Claim]) -> Ledger:
        return Ledger(
            await self._pools(tx, {(claim.tenant_id, sku) for claim in claims for sku in claim.seats}),
            await self._free(tx, Counter((c.customer, c.site) for c in claims if c.site is not None)),
            await self._reserved(tx, claims),
        )

    async def names_of_others(self, tx: AsyncConnection, chosen: Chosen) -> set[Pair]:
        if not chosen:
            return set()
        rows = await tx.execute(
            sql.NAMES_OF_OTHERS,
            {
                "tenant_ids": [claim.tenant_id for claim, _ in chosen],
                "upns": [reservation.upn.upn for _, reservation in chosen],
                "person_ids": [claim.person_id for claim, _ in chosen],
            },
        )
        kept = {(claim.tenant_id, claim.kept_upn.upn) for claim, _ in chosen if claim.kept_upn is not None}
        return {(row.tenant_id, row.upn) for row in rows} - kept

    async def shelves(self, tx: AsyncConnection, sites: Collection[Pair]) -> Mapping[Pair, Shelf]:
        if not sites:
            return {}
        rows = await tx.execute(sql.SHELVES, {"customers": [c for c, _ in sites], "sites": [s for _, s in sites]})
        return {(row.customer, row.site): Shelf(row.first, row.last, row.total, row.used, row.reserved) for row in rows}

    async def reserve(self, tx: AsyncConnection, chosen: Chosen, now: datetime) -> None:
        if not chosen:
            return
        owners = {"person_id": [c.person_id for c, _ in chosen], "plan_id": [c.plan_id for c, _ in chosen]}
        await tx.execute(
            sql.RESERVE_NAMES,
            {
                "tenant_id": [claim.tenant_id for claim, _ in chosen],
                "upn": [reservation.upn.upn for _, reservation in chosen],
                "base": [reservation.upn.base for _, reservation in chosen],
                "ordinal": [reservation.upn.ordinal for _, reservation in chosen],
                **owners,
            },
        )
        if any(claim.takes_over for claim, _ in chosen):
            await tx.execute(sql.TAKE_OVER_NUMBERS, owners)
            await tx.execute(sql.TAKE_OVER_SEATS, owners)
        await self._reserve_numbers(tx, chosen, now)
        await self._reserve_seats(tx, chosen, now)

    async def note_taken(self, tx: AsyncConnection, names: Sequence[tuple[str, UpnChoice]]) -> None:
        if names:
            await tx.execute(
                sql.NOTE_TAKEN,
                {
                    "tenant_id": [tenant_id for tenant_id, _ in names],
                    "upn": [name.upn for _, name in names],
                    "base": [name.base for _, name in names],
                    "ordinal": [name.ordinal for _, name in names],
                },
            )

    async def release(self, tx: AsyncConnection, plan_ids: Collection[UUID], now: datetime) -> None:
        if plan_ids:
            ids = {"plan_ids": list(plan_ids)}
            await tx.execute(sql.RELEASE_NAMES, ids)
            await tx.execute(sql.RELEASE_SEATS, ids)
            await tx.execute(sql.RELEASE_NUMBERS, {**ids, "now": now})

    async def set_aside(self, tx: AsyncConnection, numbers: Mapping[UUID, tuple[str, str]], now: datetime) -> None:
        if numbers:
            await tx.execute(
                sql.SET_ASIDE_NUMBERS,
                {
                    "now": now,
                    "plan_ids": list(numbers),
                    "statuses": [status for status, _ in numbers.values()],
                    "notes": [note for _, note in numbers.values()],
                },
            )

    async def adopt_numbers(self, tx: AsyncConnection, held: Mapping[UUID, HeldNumber], now: datetime) -> set[UUID]:
        if not held:
            return set()
        values = {
            "now": now,
            "plan_id": list(held),
            "person_id": [each.person_id for each in held.values()],
            "customer": [each.customer for each in held.values()],
            "number": [each.number for each in held.values()],
        }
        return set((await tx.execute(sql.ADOPT_NUMBERS, values)).scalars())

    async def free_number(self, tx: AsyncConnection, customer: str, number: str, now: datetime) -> str | None:
        found = await tx.execute(sql.FREE_NUMBER, {"customer": customer, "number": number, "now": now})
        status: str | None = found.scalar_one_or_none()
        return status

    async def give_back_numbers(self, tx: AsyncConnection, person_ids: Collection[UUID], now: datetime) -> None:
        if person_ids:
            await tx.execute(sql.GIVE_BACK_NUMBERS, {"person_ids": list(person_ids), "now": now})

    async def use(
        self,
        tx: AsyncConnection,
        *,
        names: Collection[UUID],
        numbers: Collection[UUID],
        seats: Collection[UUID],
        now: datetime,
    ) -> None:
        uses: tuple[tuple[TextClause, Collection[UUID], dict[str, Any]], ...] = (
            (sql.USE_NAMES, names, {}),
            (sql.USE_NUMBERS, numbers, {"now": now}),
            (sql.USE_SEATS, seats, {"now": now}),
        )
        for statement, plan_ids, extra in uses:
            if plan_ids:
                await tx.execute(statement, {"plan_ids": list(plan_ids), **extra})

    async def _pools(self, tx: AsyncConnection, wanted: Collection[Pair]) -> dict[Pair, SeatPool]:
        if not wanted:
            return {}
        rows = await tx.execute(sql.POOLS, {"tenant_ids": [t for t, _ in wanted], "sku_ids": [s for _, s in wanted]})
        return {(row.tenant_id, row.sku_id): pool_of(row) for row in rows}

    async def _free(self, tx: AsyncConnection, wanted: Counter[Pair]) -> dict[Pair, deque[FreeNumber]]:
        if not wanted:
            return {}
        rows = await tx.execute(
            sql.FREE_NUMBERS,
            {
                "customers": [customer for customer, _ in wanted],
                "sites": [site for _, site in wanted],
                "counts": list(wanted.values()),
            },
        )
        free: dict[Pair, deque[FreeNumber]] = {pair: deque() for pair in wanted}
        for row in rows:
            free[row.customer, row.site].append(FreeNumber(row.number, row.type, row.location_id))
        return free

    async def _reserved(self, tx: AsyncConnection, claims: Sequence[Claim]) -> set[Pair]:
        """Names already given under the plain names of these claims."""
        choosing = [claim for claim in claims if claim.kept_upn is None and claim.local]
        bases = {(claim.tenant_id, claim.local, claim.domain) for claim in choosing}
        plain = {(tenant_id, upn_candidate(local, domain, 1)): (local, domain) for tenant_id, local, domain in bases}
        occupied = await self.occupied(tx, plain)
        return {
            (tenant_id, upn_candidate(*plain[tenant_id, base], ordinal))
            for (tenant_id, base), ordinals in occupied.items()
            for ordinal in ordinals
        }

    async def _reserve_numbers(self, tx: AsyncConnection, chosen: Chosen, now: datetime) -> None:
        numbered = [(claim, got.number) for claim, got in chosen if got.number is not None]
        if not numbered:
            return
        result = await tx.execute(
            sql.RESERVE_NUMBERS,
            {
                "now": now,
                "customer": [claim.customer for claim, _ in numbered],
                "number": [number.number for _, number in numbered],
                "person_id": [claim.person_id for claim, _ in numbered],
                "plan_id": [claim.plan_id for claim, _ in numbered],
            },
        )
        if result.rowcount != len(numbered):
            raise Unavailable("numbers changed while they were being reserved", code="database-contention")

    async def _reserve_seats(self, tx: AsyncConnection, chosen: Chosen, now: datetime) -> None:
        seats = [(claim, sku) for claim, got in chosen for sku in got.seats]
        if seats:
            await tx.execute(
                sql.RESERVE_SEATS,
                {
                    "now": now,
                    "tenant_id": [claim.tenant_id for claim, _ in seats],
                    "sku_id": [sku for _, sku in seats],
                    "person_id": [claim.person_id for claim, _ in seats],
                    "plan_id": [claim.plan_id for claim, _ in seats],
                },
            )


def pool_of(row: Any) -> SeatPool:
    """A row of seat_pool with the seats held in it counted."""
    return SeatPool(
        row.sku_id, row.part_number, row.capability_status, row.enabled, row.warning, row.consumed, row.held
    )


def _number(row: Any) -> tuple[FreeNumber | None, str | None, bool]:
    if row is None:
        return None, None, False
    return FreeNumber(row.number, row.type, row.location_id), row.site, row.status == "used"
