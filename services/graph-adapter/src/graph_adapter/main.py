"""The composition root: the only place that knows concrete classes and settings.

Owns how the parts are joined into roles. Refuses decisions.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from graph_adapter import wire
from graph_adapter.adapters.db.statements import CHANNEL
from graph_adapter.adapters.db.unit_of_work import DatabaseStore
from graph_adapter.adapters.graph.auth import Load, MsalTokens
from graph_adapter.adapters.graph.client import GraphClient
from graph_adapter.adapters.observer import MeshObserver
from graph_adapter.adapters.templates import load_catalogue
from graph_adapter.adapters.vault import SEALED_COLUMNS, SealedVault
from graph_adapter.application.accept_operations import Desk
from graph_adapter.application.reload_templates import TemplateShelf
from graph_adapter.application.run_operations import RunPorts
from graph_adapter.domain.credential import Credential, CredentialSecret
from graph_adapter.domain.fairness import Limits
from graph_adapter.domain.progress import Pauses
from graph_adapter.domain.tray import Tray
from graph_adapter.entrypoints import consumer, http
from graph_adapter.entrypoints.workers import OperationWorker, Rhythm
from graph_adapter.settings import GraphAdapterSettings
from mesh_messaging import replay
from mesh_messaging.consumer import BatchConsumer
from mesh_messaging.deadletters_http import router as dead_letters_router
from mesh_messaging.kafka import KafkaSettings
from mesh_messaging.relay import Relay
from mesh_runtime import logs, migrations, resealing, startup, telemetry
from mesh_runtime.auth import TokenVerifier
from mesh_runtime.clock import Uuid7Ids
from mesh_runtime.database_clock import DatabaseClock
from mesh_runtime.db import Database
from mesh_runtime.errors import InvalidInput
from mesh_runtime.health import Health
from mesh_runtime.http import Server, create_app
from mesh_runtime.roles import Role, parse_roles, run_roles
from mesh_runtime.sealing import Sealer, SealingKey
from mesh_runtime.settings import load_settings

PACKAGE = "graph_adapter"
SERVICE = "graph-adapter"
VERSION = "0.1.0"

_log = logs.get_logger("graph_adapter.main")


@dataclass(frozen=True, slots=True)
class Parts:
    """What the roles share."""

    settings: GraphAdapterSettings
    db: Database
    store: DatabaseStore
    vault: SealedVault
    shelf: TemplateShelf
    graph: GraphClient
    tokens: MsalTokens
    verifier: TokenVerifier
    observer: MeshObserver
    clock: DatabaseClock
    ids: Uuid7Ids
    limits: Limits
    tray: Tray


def build(settings: GraphAdapterSettings) -> Parts:
    """Nothing connects yet. Raises SettingsError for unusable key files, InvalidInput for broken templates."""
    ids, observer = Uuid7Ids(), MeshObserver()
    db = Database(settings.database_url, pool_size_max=settings.database_pool_size_max, application_name=SERVICE)
    clock = DatabaseClock(db)
    store = DatabaseStore(db, observer, ids, clock)
    vault = SealedVault(SealingKey.from_file(settings.sealing_key_file), Sealer.from_file(settings.kek_file))
    limits = Limits(
        run_size_max=settings.run_size_max,
        tenant_in_flight_max=settings.tenant_in_flight_max,
        runs_max=settings.runs_max,
        runs_per_tenant_max=settings.runs_per_tenant_max,
    )
    return Parts(
        settings=settings,
        db=db,
        store=store,
        vault=vault,
        shelf=TemplateShelf(lambda: load_catalogue(settings.templates_dir)),
        graph=GraphClient(
            ca_file=settings.ca_file,
            timeout_seconds=settings.graph_timeout_seconds,
            connections_max=settings.graph_connections_max,
        ),
        tokens=MsalTokens(
            _credentials_of(store, vault),
            clock,
            login_url=settings.login_url,
            graph_url=settings.graph_url,
            ca_file=settings.ca_file,
        ),
        verifier=TokenVerifier(settings.oidc_issuer, settings.oidc_audience, ca_file=settings.ca_file, clock=clock),
        observer=observer,
        clock=clock,
        ids=ids,
        limits=limits,
        # Opened by the worker; in a process without one it stays closed, and everything is queued.
        tray=Tray(ids.new(), settings.run_size_max * settings.runs_max),
    )


def api_role(parts: Parts, health: Health) -> Role:
    """The HTTP API."""
    app = create_app(
        title="ucmesh graph adapter",
        version=VERSION,
        description="The only place that speaks to Microsoft Graph: its operations, what tenants allow, dead letters.",
        verifier=parts.verifier,
        health=health,
        routers=[
            http.operations_router(parts.store),
            http.tenants_router(parts.store, parts.shelf),
            http.templates_router(parts.shelf),
            dead_letters_router(parts.db, parts.clock),
        ],
    )
    return Role("api", Server.of(parts.settings, app, health).run)


def consumer_role(parts: Parts) -> Role:
    """Commands and credentials from Kafka."""
    desk = Desk(parts.tray, parts.limits, parts.settings.lease_seconds)
    batch_consumer = BatchConsumer(
        KafkaSettings.from_service(parts.settings, SERVICE),
        parts.db,
        name=wire.CONSUMER,
        topics=consumer.TOPICS,
        bulk_topics=consumer.BULK_TOPICS,
        handlers=consumer.handlers(parts.store.on, parts.vault, parts.clock, desk),
        batch_size_max=parts.settings.consumer_batch_size_max,
        clock=parts.clock,
    )
    return Role("consumer", batch_consumer.run)


def relay_role(parts: Parts) -> Role:
    """Replies to Kafka."""
    return Role("relay", Relay(parts.db, KafkaSettings.from_service(parts.settings, SERVICE).make_producer).run)


def worker_role(parts: Parts) -> Role:
    """Operations to Microsoft Graph."""
    settings = parts.settings
    ports = RunPorts(
        store=parts.store,
        graph=parts.graph,
        tokens=parts.tokens,
        shelf=parts.shelf,
        observer=parts.observer,
        clock=parts.clock,
        pauses=Pauses(),
        batches_max=settings.batches_per_run_max,
        stop=asyncio.Event(),
    )
    rhythm = Rhythm(settings.poll_seconds, settings.lease_seconds, timedelta(days=settings.keep_days))
    worker = OperationWorker(
        ports,
        parts.limits,
        parts.ids,
        lambda callback: parts.db.raw_listen(CHANNEL, callback),
        rhythm,
        tray=parts.tray,
    )
    return Role("worker", worker.run)


def _credentials_of(store: DatabaseStore, vault: SealedVault) -> Load:
    async def load(credential_id: UUID) -> tuple[Credential, CredentialSecret] | None:
        async with store.read() as unit:
            found = await unit.credentials.load(credential_id)
        if found is None:
            return None
        credential, sealed = found
        return credential, vault.open(credential, sealed)

    return load


async def serve(argv: Sequence[str]) -> int:
    """Runs the roles named in `argv` (all by default) until stopped; `migrate` only brings the database up to date,
    `reseal` puts its secrets under the active key.
    """
    settings = load_settings(GraphAdapterSettings)
    logs.configure(SERVICE, settings.log_level)
    if argv[:1] == ["reseal"]:
        return await resealing.run(argv[1:], settings, SEALED_COLUMNS)
    if argv[:1] == ["replay"]:
        kafka = KafkaSettings.from_service(settings, SERVICE)
        return await replay.run(
            argv[1:], kafka, name=wire.CONSUMER, topics=consumer.TOPICS, bulk_topics=consumer.BULK_TOPICS
        )
    if list(argv) == ["migrate"]:
        await migrations.upgrade(settings.database_url, PACKAGE)
        return 0
    names = parse_roles(argv)
    telemetry.configure(SERVICE, settings.otlp_endpoint, settings.trace_ratio)
    parts = build(settings)
    health = Health({"database": parts.db.ping})
    makers = {"consumer": consumer_role, "relay": relay_role, "worker": worker_role}
    roles = [api_role(parts, health) if name == "api" else makers[name](parts) for name in names]
    _reload_on_hangup(parts.shelf)
    held = startup.after(
        lambda: migrations.upgrade(settings.database_url, PACKAGE),
        roles,
        health,
        seconds_max=settings.startup_seconds,
        clock=parts.clock,
    )
    try:
        await run_roles(held, drain_seconds=settings.drain_seconds)
    finally:
        parts.tokens.close()
        await parts.graph.close()
        await parts.verifier.close()
        await parts.db.close()
    return 0


def _reload_on_hangup(shelf: TemplateShelf) -> None:
    def reload() -> None:
        try:
            _log.info("templates.reloaded", fingerprint=shelf.reload().fingerprint)
        except InvalidInput as error:
            _log.error("templates.refused", reason=error.message)

    with suppress(NotImplementedError, ValueError, RuntimeError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
