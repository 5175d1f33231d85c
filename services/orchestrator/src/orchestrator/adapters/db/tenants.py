"""What tenants hold, as last observed, in PostgreSQL (port `Tenants`).

Owns replacing an observation as a whole, and a bounded cache of facts per tenant, group names and time of observation.
"""

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.adapters.db import tenants_sql as sql
from orchestrator.adapters.db.documents import dump, dump_reason
from orchestrator.domain.observed import Sku, TenantFacts
from orchestrator.domain.ports import Refusal
from orchestrator.domain.stores import CredentialNews, TenantObservation

FACTS_MAX = 1_000
# A licence assigned just before the read may not be in Microsoft's count yet.
COUNT_LAG_SECONDS = 30
READY_CHANNEL = "ucmesh_tenants"

FactsKey = tuple[str, datetime, frozenset[str]]


class DatabaseTenants:
    def __init__(self) -> None:
        self._facts: OrderedDict[FactsKey, TenantFacts] = OrderedDict()

    async def ready(self, tx: AsyncConnection, tenant_ids: Collection[str]) -> frozenset[str]:
        if not tenant_ids:
            return frozenset()
        return frozenset(row.tenant_id for row in await tx.execute(sql.READY, {"tenant_ids": list(tenant_ids)}))

    async def facts(self, tx: AsyncConnection, groups: Mapping[str, Collection[str]]) -> Mapping[str, TenantFacts]:
        if not groups:
            return {}
        rows = await tx.execute(sql.OBSERVED_AT, {"tenant_ids": list(groups)})
        wanted: dict[str, FactsKey] = {
            row.tenant_id: (row.tenant_id, row.observed_at, frozenset(name.lower() for name in groups[row.tenant_id]))
            for row in rows
        }
        found = {key: self._facts[key] for key in wanted.values() if key in self._facts}
        missing = [key for key in wanted.values() if key not in found]
        if missing:
            found |= self._remember(await _load_facts(tx, missing))
        return {tenant_id: found[key] for tenant_id, key in wanted.items()}

    async def take_news(self, tx: AsyncConnection, news: Sequence[CredentialNews], now: datetime) -> None:
        # One tenant's news come in order; the last word counts.
        latest = {each.tenant_id: each for each in news}
        works = [each for each in latest.values() if each.works]
        fails = [each for each in latest.values() if not each.works]
        if works:
            await tx.execute(
                sql.ACTIVATED,
                {
                    "now": now,
                    "tenant_ids": [each.tenant_id for each in works],
                    "credential_ids": [each.credential_id for each in works],
                    "not_after": [each.not_after for each in works],
                    "channel": READY_CHANNEL,
                },
            )
        if fails:
            reasons = [dump({"code": each.code, "message": each.message, "remedy": each.remedy}) for each in fails]
            await tx.execute(
                sql.FAILED, {"now": now, "tenant_ids": [each.tenant_id for each in fails], "reasons": reasons}
            )

    async def observe_soon(self, tx: AsyncConnection, tenant_ids: Collection[str], now: datetime) -> None:
        if tenant_ids:
            await tx.execute(sql.OBSERVE_SOON, {"tenant_ids": sorted(tenant_ids), "now": now, "channel": READY_CHANNEL})

    async def claim_due(self, tx: AsyncConnection, now: datetime, *, again_at: datetime, count_max: int) -> list[str]:
        rows = await tx.execute(sql.CLAIM_DUE, {"now": now, "again_at": again_at, "count_max": count_max})
        return [row.tenant_id for row in rows]

    async def observed(self, tx: AsyncConnection, observations: Sequence[TenantObservation], now: datetime) -> None:
        latest = list({each.tenant_id: each for each in observations}.values())
        if not latest:
            return
        ids = {"tenant_ids": [each.tenant_id for each in latest], "now": now}
        known = {row.tenant_id for row in await tx.execute(sql.LOCK_TENANTS, ids)}
        latest = [each for each in latest if each.tenant_id in known]
        ids = {"tenant_ids": [each.tenant_id for each in latest], "now": now}
        for statement in (sql.CLEAR_POOLS, sql.CLEAR_GROUPS):
            await tx.execute(statement, {"tenant_ids": ids["tenant_ids"]})
        await tx.execute(sql.INSERT_POOLS, {"now": now, **_pools(latest)})
        await tx.execute(sql.INSERT_GROUPS, _groups(latest))
        await tx.execute(
            sql.FORGET_CONSUMED,
            {
                "tenant_ids": ids["tenant_ids"],
                "counted_until": [each.read_at - timedelta(seconds=COUNT_LAG_SECONDS) for each in latest],
            },
        )
        await tx.execute(
            sql.OBSERVED,
            {
                **ids,
                "capabilities": [dump(each.capabilities) for each in latest],
                "observations": [
                    dump({"organization": each.organization, "has_more_groups": each.has_more_groups})
                    for each in latest
                ],
                "channel": READY_CHANNEL,
            },
        )

    async def unobserved(
        self, tx: AsyncConnection, failures: Mapping[str, Refusal], now: datetime, *, again_at: datetime
    ) -> None:
        if failures:
            await tx.execute(
                sql.UNOBSERVED,
                {
                    "now": now,
                    "again_at": again_at,
                    "tenant_ids": list(failures),
                    "reasons": [dump_reason(reason) for reason in failures.values()],
                },
            )

    def _remember(self, loaded: dict[FactsKey, TenantFacts]) -> dict[FactsKey, TenantFacts]:
        self._facts.update(loaded)
        while len(self._facts) > FACTS_MAX:
            self._facts.popitem(last=False)
        return loaded


async def _load_facts(tx: AsyncConnection, keys: Sequence[FactsKey]) -> dict[FactsKey, TenantFacts]:
    tenant_ids = [tenant_id for tenant_id, _, _ in keys]
    skus: dict[str, dict[str, Sku]] = {}
    for row in await tx.execute(sql.SKUS, {"tenant_ids": tenant_ids}):
        sku = Sku(row.sku_id, row.part_number, orjson.loads(row.plans))
        skus.setdefault(row.tenant_id, {}).update({sku.sku_id.lower(): sku, sku.part_number.upper(): sku})
    seen = (await tx.execute(sql.CAPABILITIES, {"tenant_ids": tenant_ids})).all()
    denied = {row.tenant_id: _denied(orjson.loads(row.capabilities)) for row in seen if row.capabilities}
    partly = {row.tenant_id for row in seen if row.has_more_groups}
    names = [(tenant_id, name) for tenant_id, _, wanted in keys for name in wanted]
    groups: dict[str, dict[str, tuple[tuple[str, str], ...]]] = {}
    found = await tx.execute(sql.GROUPS, {"tenant_ids": [t for t, _ in names], "names": [n for _, n in names]})
    for row in found:
        of_tenant = groups.setdefault(row.tenant_id, {})
        of_tenant[row.name] = (*of_tenant.get(row.name, ()), (row.group_id, row.display_name))
    return {
        key: TenantFacts(
            tenant_id=key[0],
            skus=skus.get(key[0], {}),
            groups=groups.get(key[0], {}),
            denied=denied.get(key[0], {}),
            knows_all_groups=key[0] not in partly,
        )
        for key in keys
    }


def _denied(capabilities: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {
        operation: tuple(verdict.get("missing") or ())
        for operation, verdict in capabilities.items()
        if isinstance(verdict, Mapping) and verdict.get("allowed") is False
    }


def _pools(observations: Sequence[TenantObservation]) -> dict[str, Any]:
    rows = {(each.tenant_id, str(sku["skuId"]).lower()): sku for each in observations for sku in each.skus}
    return {
        "tenant_id": [tenant_id for tenant_id, _ in rows],
        "sku_id": [sku_id for _, sku_id in rows],
        "part_number": [str(sku.get("skuPartNumber") or sku["skuId"]) for sku in rows.values()],
        "capability_status": [str(sku.get("capabilityStatus") or "Enabled") for sku in rows.values()],
        "enabled": [int(sku.get("enabled") or 0) for sku in rows.values()],
        "warning": [int(sku.get("warning") or 0) for sku in rows.values()],
        "consumed": [int(sku.get("consumed") or 0) for sku in rows.values()],
        "plans": [dump(_service_plans(sku)) for sku in rows.values()],
    }


def _service_plans(sku: Mapping[str, Any]) -> dict[str, str]:
    plans = sku.get("servicePlans") or ()
    return {str(plan["servicePlanName"]): str(plan["servicePlanId"]).lower() for plan in plans}


def _groups(observations: Sequence[TenantObservation]) -> dict[str, Any]:
    rows = {(each.tenant_id, str(group["id"])): group for each in observations for group in each.groups}
    return {
        "tenant_id": [tenant_id for tenant_id, _ in rows],
        "group_id": [group_id for _, group_id in rows],
        "display_name": [str(group.get("displayName") or "") for group in rows.values()],
    }
