"""The composition root: the only file that knows concrete classes and settings.

Owns how the parts are joined into roles. Refuses decisions.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from fastapi import FastAPI

from mesh_messaging import replay
from mesh_messaging.consumer import BatchConsumer
from mesh_messaging.deadletters_http import router as dead_letters_router
from mesh_messaging.kafka import KafkaSettings
from mesh_messaging.relay import Relay
from mesh_runtime import logs, migrations, startup, telemetry
from mesh_runtime.auth import TokenVerifier, Verifier
from mesh_runtime.clock import Clock, IdGenerator, Uuid7Ids
from mesh_runtime.database_clock import DatabaseClock
from mesh_runtime.db import Database
from mesh_runtime.errors import MeshError
from mesh_runtime.health import Health
from mesh_runtime.http import Server, create_app
from mesh_runtime.roles import Role, parse_roles, run_roles
from mesh_runtime.sealing import seal_for
from mesh_runtime.settings import SettingsError, load_settings
from orchestrator import wire
from orchestrator.adapters.db.customers import DatabaseCustomers
from orchestrator.adapters.db.inventory import DatabaseInventory
from orchestrator.adapters.db.ledgers import DatabaseLedgers
from orchestrator.adapters.db.people import DatabasePeople
from orchestrator.adapters.db.plan_readings import DatabasePlanReadings
from orchestrator.adapters.db.plan_rows import TIMER_CHANNEL, DatabasePlanRows
from orchestrator.adapters.db.recent_plans import RECENT_PLANS_MAX
from orchestrator.adapters.db.tenants import READY_CHANNEL, DatabaseTenants
from orchestrator.adapters.db.views import DatabaseViews
from orchestrator.adapters.plan_messages import OutboxPlanMessages
from orchestrator.adapters.tenant_commands import OutboxTenantCommands
from orchestrator.application import (
    BuildPlans,
    EnginePlans,
    PlanEngine,
    PreviewPerson,
    ResolveLocal,
    Rules,
    SettlePlans,
    TakeTenantReplies,
)
from orchestrator.domain.hr_event import HrEvent
from orchestrator.entrypoints import consumer, http_customers, http_hr, http_people, http_plans
from orchestrator.entrypoints.http_customers import Seal
from orchestrator.entrypoints.workers_plans import PlanTimers
from orchestrator.entrypoints.workers_rules import RulesWorker
from orchestrator.participants.pacing import Pacing, scaled
from orchestrator.settings import OrchestratorSettings

NAME = "orchestrator"
PACKAGE = "orchestrator"
VERSION = "0.1.0"
DESCRIPTION = """Takes in what HR says, decides by the customer's own rules what each person should have in Microsoft
365, and carries it out as plans that are proven by reading back and undone when they cannot be finished.

Apply a customer's configuration first, wait until its tenant is ready, then send HR events. Every error is a problem
document with a code and, where there is one, a remedy. Lists page by key: follow `next` until it is null."""

TAGS: list[dict[str, Any]] = [
    {"name": "HR events", "description": "The intake of HR systems (CloudEvents)."},
    {"name": "customers", "description": "Configuration, tenants, numbers and licence pools."},
    {"name": "people", "description": "Who is known, and desired against observed for each."},
    http_plans.TAG,
    {"name": "dead letters", "description": "Messages that could not be handled: look, repair, replay, discard."},
    {"name": "draining", "description": "A replica that takes no new work before it is stopped."},
]


@dataclass(frozen=True, slots=True)
class Parts:
    """The rules and the plan engine, joined."""

    rules: Rules
    engine: PlanEngine
    preview: PreviewPerson


def join(*, clock: Clock, ids: IdGenerator, pacing: Pacing, recent_plans_max: int = RECENT_PLANS_MAX) -> Parts:
    """Everything between the entrypoints and the database."""
    plans = EnginePlans()
    customers = DatabaseCustomers()
    rules = Rules(
        configurations=customers,
        inventory=DatabaseInventory(),
        rulebooks=customers,
        people=DatabasePeople(),
        tenants=DatabaseTenants(),
        ledgers=DatabaseLedgers(),
        plans=plans,
        commands=OutboxTenantCommands(clock, ids),
        pacing=pacing,
        clock=clock,
        ids=ids,
    )
    plans.engine = PlanEngine(
        rows=DatabasePlanRows(recent_plans_max),
        messages=OutboxPlanMessages(ids=ids, clock=clock),
        planner=BuildPlans(rules),
        settlement=SettlePlans(rules),
        local=ResolveLocal(rules),
        unplanned=TakeTenantReplies(rules),
        clock=clock,
        ids=ids,
    )
    return Parts(rules, plans.engine, PreviewPerson(rules, _previewed))


def make_app(parts: Parts, db: Database, verifier: Verifier, health: Health, seal: Seal) -> FastAPI:
    """The HTTP API."""
    views, readings = DatabaseViews(), DatabasePlanReadings()
    doors = http_plans.PlanDoors(engine=parts.engine, readings=readings, source=parts.preview, db=db)
    app = create_app(
        title=NAME,
        version=VERSION,
        description=DESCRIPTION,
        verifier=verifier,
        health=health,
        routers=[
            http_hr.router(db, parts.rules),
            http_customers.router(db, parts.rules, views, seal),
            http_customers.tenants_router(db, views),
            http_people.router(db, views, readings),
            http_plans.router(doors),
            dead_letters_router(db, parts.rules.clock),
        ],
    )
    app.openapi_tags = TAGS
    return app


async def run(argv: Sequence[str]) -> int:
    """Migrates, then runs the named roles (all by default) until SIGTERM; `migrate` only migrates."""
    settings = load_settings(OrchestratorSettings)
    logs.configure(NAME, settings.log_level)
    if argv[:1] == ["replay"]:
        kafka = KafkaSettings.from_service(settings, NAME)
        return await replay.run(
            argv[1:], kafka, name=consumer.NAME, topics=consumer.TOPICS, bulk_topics=consumer.BULK_TOPICS
        )
    if list(argv) == ["migrate"]:
        await migrations.upgrade(settings.database_url, PACKAGE)
        return 0
    chosen = parse_roles(argv)
    telemetry.configure(NAME, settings.otlp_endpoint, settings.trace_ratio)
    db = Database(settings.database_url, pool_size_max=settings.database_pool_size_max, application_name=NAME)
    clock = DatabaseClock(db)
    verifier = TokenVerifier(settings.oidc_issuer, settings.oidc_audience, ca_file=settings.ca_file, clock=clock)
    health = Health({"database": db.ping})
    available = _roles(settings, db, clock, verifier, health)
    roles = startup.after(
        lambda: migrations.upgrade(settings.database_url, PACKAGE),
        [available[name] for name in chosen],
        health,
        seconds_max=settings.startup_seconds,
        clock=clock,
    )
    try:
        await run_roles(roles, drain_seconds=settings.drain_seconds)
    finally:
        await verifier.close()
        await db.close()
    return 0


def _roles(
    settings: OrchestratorSettings, db: Database, clock: Clock, verifier: Verifier, health: Health
) -> dict[str, Role]:
    kafka = KafkaSettings.from_service(settings, NAME)
    pacing = scaled(Pacing(), settings.patience)
    parts = join(clock=clock, ids=Uuid7Ids(), pacing=pacing, recent_plans_max=settings.recent_plans_max)
    app = make_app(parts, db, verifier, health, sealer_for(settings.cert_manager_jwk_file))
    messages = BatchConsumer(
        kafka,
        db,
        name=consumer.NAME,
        topics=consumer.TOPICS,
        bulk_topics=consumer.BULK_TOPICS,
        handlers=consumer.handlers(parts.rules, parts.engine),
        batch_size_max=settings.consumer_batch_size_max,
        clock=clock,
    )
    timers = PlanTimers(parts.engine, db, channel=TIMER_CHANNEL)
    tenants = RulesWorker(parts.rules, db, channel=READY_CHANNEL, observe_every_seconds=settings.observe_every_seconds)

    async def work(stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(timers.run(stop), name="plan-timers")
            tasks.create_task(tenants.run(stop), name="tenants")

    return {
        "api": Role("api", Server.of(settings, app, health).run),
        "consumer": Role("consumer", messages.run),
        "relay": Role("relay", Relay(db, kafka.make_producer).run),
        "worker": Role("worker", work),
    }


def sealer_for(jwk_file: Path) -> Seal:
    """Seals bootstrap secrets for cert-manager. Raises SettingsError when the key cannot be used."""
    try:
        jwk = json.loads(jwk_file.read_text())
        seal_for(jwk, b"{}", context="check")
    except (OSError, ValueError, MeshError) as error:
        raise SettingsError(
            "cannot start, 1 setting to fix:\n  ORCHESTRATOR_CERT_MANAGER_JWK_FILE: not the public EC P-256 JWK of "
            "cert-manager"
        ) from error
    return lambda tenant_id, secret: seal_for(jwk, secret.encode(), context=f"bootstrap:{tenant_id}")


def _previewed(event: Mapping[str, Any]) -> HrEvent:
    return wire.hr_event_of(wire.hr_data(event), source="/preview", event_id=str(uuid4()), kind="joined")
