"""People in PostgreSQL (port `People`). Holds no state; JSON goes in and out as text."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.adapters.db import people_sql as sql
from orchestrator.adapters.db.documents import columns_of, dump, dump_reason
from orchestrator.domain.hr_event import HrEvent
from orchestrator.domain.people import Person, Standing
from orchestrator.domain.stores import PersonKey, Settled


class DatabasePeople:
    async def accept(
        self, tx: AsyncConnection, arrivals: Sequence[tuple[Person, Standing]], now: datetime
    ) -> tuple[set[PersonKey], list[Person]]:
        """One upsert: newer sequence wins. Known people come back with their former effective date."""
        rows = await tx.execute(
            sql.ACCEPT,
            {
                "now": now,
                "person_id": [person.person_id for person, _ in arrivals],
                "customer": [person.customer for person, _ in arrivals],
                "employee_id": [person.employee_id for person, _ in arrivals],
                "sequence": [person.sequence for person, _ in arrivals],
                "effective_date": [person.effective_date for person, _ in arrivals],
                "facts": [dump(person.facts) for person, _ in arrivals],
                "traceparent": [person.traceparent for person, _ in arrivals],
                **_standings([standing for _, standing in arrivals]),
            },
        )
        arrived = {(person.customer, person.employee_id): person for person, _ in arrivals}
        new: set[PersonKey] = set()
        replaced: list[Person] = []
        for row in rows:
            key = (row.customer, row.employee_id)
            if row.is_new:
                new.add(key)
            else:
                replaced.append(_known(arrived[key], row))
        return new, replaced

    async def assume(self, tx: AsyncConnection, person: Person, now: datetime) -> UUID:
        row = await tx.execute(
            sql.ASSUME,
            {
                "now": now,
                "person_id": person.person_id,
                "customer": person.customer,
                "employee_id": person.employee_id,
                "sequence": person.sequence,
                "effective_date": person.effective_date,
                "facts": dump(person.facts),
            },
        )
        person_id: UUID = row.scalar_one()
        return person_id

    async def place(self, tx: AsyncConnection, standings: Mapping[UUID, Standing], now: datetime) -> None:
        if standings:
            given = list(standings.values())
            await tx.execute(
                sql.PLACE,
                {
                    "now": now,
                    "person_id": list(standings),
                    "replan": [standing.replan for standing in given],
                    **_standings(given),
                },
            )

    async def record(
        self, tx: AsyncConnection, events: Sequence[tuple[HrEvent, str, UUID | None]], now: datetime
    ) -> None:
        if events:
            await tx.execute(
                sql.RECORD,
                {
                    "now": now,
                    "source": [event.source for event, _, _ in events],
                    "event_id": [event.event_id for event, _, _ in events],
                    "customer": [event.customer for event, _, _ in events],
                    "employee_id": [event.employee_id for event, _, _ in events],
                    "sequence": [event.sequence for event, _, _ in events],
                    "kind": [event.kind for event, _, _ in events],
                    "outcome": [outcome for _, outcome, _ in events],
                    "plan_id": [plan_id for _, _, plan_id in events],
                },
            )

    async def load(self, tx: AsyncConnection, person_ids: Collection[UUID]) -> list[Person]:
        if not person_ids:
            return []
        return [_person(row) for row in await tx.execute(sql.LOAD, {"person_ids": list(person_ids)})]

    async def waiting(self, tx: AsyncConnection, count_max: int) -> list[Person]:
        return [_person(row) for row in await tx.execute(sql.WAITING, {"count_max": count_max})]

    async def last_seen(self, tx: AsyncConnection, person_id: UUID) -> tuple[Mapping[str, Any] | None, datetime | None]:
        row = (await tx.execute(sql.LAST_SEEN, {"person_id": person_id})).one()
        return (None if row.entra is None else orjson.loads(row.entra)), row.observed_at

    async def users(self, tx: AsyncConnection, keys: Collection[PersonKey]) -> Mapping[PersonKey, tuple[str, str]]:
        if not keys:
            return {}
        rows = await tx.execute(
            sql.USERS,
            {
                "customers": [customer for customer, _ in keys],
                "employee_ids": [employee_id for _, employee_id in keys],
            },
        )
        return {(row.customer, row.employee_id): (row.user_id, row.upn) for row in rows}

    async def planned(
        self, tx: AsyncConnection, plans: Sequence[tuple[UUID, str, Mapping[str, Any], Standing]], now: datetime
    ) -> None:
        if plans:
            await tx.execute(
                sql.PLANNED,
                {
                    "now": now,
                    "person_id": [person_id for person_id, _, _, _ in plans],
                    "upn": [upn for _, upn, _, _ in plans],
                    "desired": [dump(desired) for _, _, desired, _ in plans],
                    "plan_id": [standing.plan_id for _, _, _, standing in plans],
                    "status": [standing.status for _, _, _, standing in plans],
                    "site": [standing.site for _, _, _, standing in plans],
                    "profile": [standing.profile for _, _, _, standing in plans],
                },
            )

    async def settle(self, tx: AsyncConnection, settled: Sequence[Settled], now: datetime) -> list[Person]:
        if not settled:
            return []
        rows = await tx.execute(
            sql.SETTLE,
            {
                "now": now,
                "person_id": [each.person_id for each in settled],
                "plan_id": [each.plan_id for each in settled],
                "status": [each.status for each in settled],
                "refusal": [dump_reason(each.refusal) for each in settled],
                "user_id": [each.user_id for each in settled],
                "proved": [each.proved for each in settled],
                "observed": [None if each.observed is None else dump(each.observed) for each in settled],
                "again": [each.again for each in settled],
            },
        )
        return [_person(row) for row in rows]


def _standings(standings: Sequence[Standing]) -> dict[str, Any]:
    return {
        "status": [standing.status for standing in standings],
        "refusal": [dump_reason(standing.refusal) for standing in standings],
        "site": [standing.site for standing in standings],
        "profile": [standing.profile for standing in standings],
        "tenant_id": [standing.tenant_id for standing in standings],
        "plan_id": [standing.plan_id for standing in standings],
        "plan_stage": [standing.plan_stage for standing in standings],
    }


def _known(arrived: Person, row: Row[Any]) -> Person:
    return replace(
        arrived,
        person_id=row.person_id,
        effective_date=row.former_date,
        status=row.status,
        site=row.site,
        profile=row.profile,
        tenant_id=row.tenant_id,
        plan_id=row.plan_id,
        plan_stage=row.plan_stage,
        replan=row.replan,
        upn=row.upn,
        user_id=row.user_id,
    )


_make_person: Callable[..., Person] = Person
_JSON = ("facts", "provisioned")


def _person(row: Row[Any]) -> Person:
    return _make_person(**columns_of(row, _JSON))
