"""The composition root: the only place that knows concrete classes and settings.

Owns how the parts are joined into roles. Refuses decisions.
"""

from __future__ import annotations

import socket
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import FastAPI

from mesh_messaging import replay
from mesh_messaging.consumer import BatchConsumer
from mesh_messaging.deadletters_http import router as dead_letters_router
from mesh_messaging.kafka import KafkaSettings
from mesh_messaging.relay import Relay
from mesh_runtime import logs, migrations, resealing, startup, telemetry
from mesh_runtime.auth import TokenVerifier, Verifier
from mesh_runtime.clock import Uuid7Ids
from mesh_runtime.database_clock import DatabaseClock
from mesh_runtime.db import Database
from mesh_runtime.health import Health
from mesh_runtime.http import Server, create_app
from mesh_runtime.roles import Role, parse_roles, run_roles
from mesh_runtime.sealing import Sealer, SealingKey
from mesh_runtime.settings import SettingsError, load_settings
from pwsh_gateway.adapters import metrics, shipped
from pwsh_gateway.adapters.announcements import OutboxAnnouncer
from pwsh_gateway.adapters.db.credentials import SEALED_COLUMNS, Credentials
from pwsh_gateway.adapters.db.operations import Operations
from pwsh_gateway.adapters.db.sessions import Executions, Sessions
from pwsh_gateway.adapters.db.settings import CONTROL_CHANNEL, WORK_CHANNEL, PostgresBell, Settings
from pwsh_gateway.adapters.hosts import backends
from pwsh_gateway.adapters.hosts.pool import LocalSessions
from pwsh_gateway.adapters.hosts.process import HostCommand, sweep
from pwsh_gateway.adapters.memory import resident_bytes
from pwsh_gateway.application import (
    AcceptCommands,
    ChangeConfig,
    FinishVisits,
    FollowControls,
    ForgetOld,
    KeepCredentials,
    KeepLeases,
    LeaseVisits,
    RecordIntents,
    ReplaceRules,
    ServeVisit,
    TerminateSession,
    WriteJournal,
)
from pwsh_gateway.domain.catalogue import Catalogue
from pwsh_gateway.domain.seats import Seats
from pwsh_gateway.domain.sessions import Credential
from pwsh_gateway.entrypoints import consumer, http
from pwsh_gateway.entrypoints.together import Together
from pwsh_gateway.entrypoints.workers import Held, Worker
from pwsh_gateway.settings import GatewaySettings

PACKAGE = "pwsh_gateway"
SERVICE = "pwsh-gateway"
VERSION = "0.1.0"


@dataclass(frozen=True, slots=True)
class Parts:
    """What the roles share. `instance` names this run of this replica; leases and sessions carry it."""

    settings: GatewaySettings
    db: Database
    catalogue: Catalogue
    queue: Operations
    sessions: Sessions
    log: Executions
    credentials: Credentials
    stored_settings: Settings
    announcer: OutboxAnnouncer
    bell: PostgresBell
    verifier: TokenVerifier
    clock: DatabaseClock
    ids: Uuid7Ids
    instance: uuid.UUID


def build(settings: GatewaySettings) -> Parts:
    """Nothing connects yet. Raises SettingsError for an unusable key file, CatalogueError for a broken catalogue."""
    ids = Uuid7Ids()
    db = Database(settings.database_url, pool_size_max=settings.database_pool_size_max, application_name=SERVICE)
    clock = DatabaseClock(db)
    return Parts(
        settings=settings,
        db=db,
        catalogue=shipped.catalogue(),
        queue=Operations(),
        sessions=Sessions(),
        log=Executions(),
        credentials=Credentials(Sealer.from_file(settings.kek_file)),
        stored_settings=Settings(),
        announcer=OutboxAnnouncer(clock, ids),
        bell=PostgresBell(),
        verifier=TokenVerifier(settings.oidc_issuer, settings.oidc_audience, ca_file=settings.ca_file, clock=clock),
        clock=clock,
        ids=ids,
        instance=ids.new(),
    )


def api_role(parts: Parts, health: Health) -> Role:
    """The management API, served."""
    return Role("api", Server.of(parts.settings, build_api(parts, parts.verifier, health), health).run)


def build_api(parts: Parts, verifier: Verifier, health: Health) -> FastAPI:
    """The management API."""
    transactions = parts.db.transaction
    api = http.Management(
        read=parts.db.read,
        sessions=parts.sessions,
        log=parts.log,
        settings=parts.stored_settings,
        credentials=parts.credentials,
        catalogue=parts.catalogue,
        change_config=ChangeConfig(parts.stored_settings, parts.bell, transactions, parts.clock),
        replace_rules=ReplaceRules(parts.stored_settings, parts.bell, transactions, parts.clock),
        terminate=TerminateSession(parts.sessions, parts.bell, transactions),
    )
    return create_app(
        title="ucmesh PowerShell gateway",
        version=VERSION,
        description="The only place that runs Teams and Exchange Online cmdlets: sessions, execution log, settings.",
        verifier=verifier,
        health=health,
        routers=[*http.routers(api), dead_letters_router(parts.db, parts.clock)],
    )


def consumer_role(parts: Parts) -> Role:
    """Commands and credentials from Kafka."""
    if parts.settings.sealing_key_file is None:
        raise SettingsError(
            "cannot start: PWSH_GATEWAY_SEALING_KEY_FILE is not set (set the private JWK of this service)"
        )
    key = SealingKey.from_file(parts.settings.sealing_key_file)
    accept = AcceptCommands(parts.queue, parts.catalogue, parts.announcer, parts.bell, parts.clock)
    credentials = KeepCredentials(
        parts.credentials, parts.queue, parts.bell, lambda jwe, context: key.open(jwe, context=context), parts.clock
    )
    batch_consumer = BatchConsumer(
        KafkaSettings.from_service(parts.settings, SERVICE),
        parts.db,
        name=consumer.CONSUMER,
        topics=consumer.TOPICS,
        bulk_topics=consumer.BULK_TOPICS,
        handlers=consumer.handlers(accept, credentials),
        clock=parts.clock,
    )
    return Role("consumer", batch_consumer.run)


def relay_role(parts: Parts) -> Role:
    """Replies and session events to Kafka."""
    return Role("relay", Relay(parts.db, KafkaSettings.from_service(parts.settings, SERVICE).make_producer).run)


def worker_role(parts: Parts) -> Role:
    """Operations to PowerShell. Raises SettingsError when there is none."""
    sweep()
    return Role("worker", build_worker(parts, host_command(parts.settings)).run)


def build_worker(parts: Parts, command: HostCommand) -> Worker:
    """The worker with everything it uses."""
    seats, held, transactions = Seats(), Held(), parts.db.transaction

    async def open_credential(credential_id: uuid.UUID) -> Credential | None:
        async with parts.db.read() as tx:
            return await parts.credentials.open(tx, credential_id)

    pool = LocalSessions(
        command=command,
        open_credential=open_credential,
        allowed=parts.catalogue.allowed,
        config=lambda: controls.config,
        clock=parts.clock,
        ids=parts.ids,
    )
    controls = FollowControls(
        parts.stored_settings, parts.credentials, parts.sessions, parts.db.read, pool, seats, parts.instance
    )

    async def measure() -> None:
        async with parts.db.read() as tx:
            waiting, oldest_seconds = await parts.queue.depth(tx, parts.clock.now())
        metrics.measure(waiting, oldest_seconds, [(s.key.module, s.state) for s in pool.sessions()])

    lease_seconds = parts.settings.lease_seconds
    return Worker(
        lease=LeaseVisits(parts.queue, transactions, seats, parts.clock, parts.instance, lease_seconds),
        serve=ServeVisit(
            pool=pool,
            record_intents=Together(RecordIntents(parts.queue, transactions, parts.instance)),
            catalogue=parts.catalogue,
            rules=lambda: controls.rules,
            config=lambda: controls.config,
            is_held=held.is_held,
            clock=parts.clock,
            ids=parts.ids,
        ),
        finish=Together(
            FinishVisits(parts.queue, parts.log, parts.sessions, parts.announcer, transactions, pool, parts.instance)
        ),
        keep_leases=KeepLeases(
            queue=parts.queue,
            sessions=parts.sessions,
            announcer=parts.announcer,
            bell=parts.bell,
            transactions=transactions,
            clock=parts.clock,
            owner=parts.instance,
            host=socket.gethostname(),
            lease_seconds=lease_seconds,
        ),
        write_journal=WriteJournal(parts.sessions, parts.announcer, transactions, pool, parts.instance),
        forget=ForgetOld(parts.queue, parts.sessions, parts.log, transactions, parts.clock),
        sessions=pool,
        seats=seats,
        held=held,
        config=lambda: controls.config,
        refresh=controls,
        on_work=lambda callback: parts.db.raw_listen(WORK_CHANNEL, callback),
        on_control=lambda callback: parts.db.raw_listen(CONTROL_CHANNEL, callback),
        sample_memory=resident_bytes,
        clock=parts.clock,
        observe=metrics.observe,
        measure=measure,
    )


def host_command(settings: GatewaySettings) -> HostCommand:
    """The back end that the settings name. Raises SettingsError when PowerShell is not there."""
    variables = {}
    if settings.simulator_url is not None:
        variables["UCMESH_SIMULATOR_URL"] = settings.simulator_url
    if settings.simulator_ca is not None:
        variables["UCMESH_SIMULATOR_CA"] = str(settings.simulator_ca)
    if settings.backend == "simulated":
        return backends.simulated(settings.simulated_command, variables=variables)
    return backends.pwsh(
        settings.pwsh_program, shipped.session_host(), module_path=settings.module_path, variables=variables
    )


async def seed(parts: Parts) -> None:
    """Brings the database up to date and the shipped error rules in."""
    await migrations.upgrade(parts.settings.database_url, PACKAGE)
    rules, digest = shipped.error_rules()
    async with parts.db.transaction() as tx:
        await parts.stored_settings.seed_rules(tx, rules, digest, parts.clock.now())


async def serve(argv: Sequence[str]) -> int:
    """Runs the roles named in `argv` (all by default) until stopped; `migrate` only brings the database up to date,
    `reseal` puts its secrets under the active key.
    """
    settings = load_settings(GatewaySettings)
    logs.configure(SERVICE, settings.log_level)
    if argv[:1] == ["reseal"]:
        return await resealing.run(argv[1:], settings, SEALED_COLUMNS)
    if argv[:1] == ["replay"]:
        kafka = KafkaSettings.from_service(settings, SERVICE)
        return await replay.run(
            argv[1:], kafka, name=consumer.CONSUMER, topics=consumer.TOPICS, bulk_topics=consumer.BULK_TOPICS
        )
    parts = build(settings)
    if list(argv) == ["migrate"]:
        await seed(parts)
        return 0
    names = parse_roles(argv)
    telemetry.configure(SERVICE, settings.otlp_endpoint, settings.trace_ratio)
    health = Health({"database": parts.db.ping})
    makers = {"consumer": consumer_role, "relay": relay_role, "worker": worker_role}
    roles = [api_role(parts, health) if name == "api" else makers[name](parts) for name in names]
    held = startup.after(lambda: seed(parts), roles, health, seconds_max=settings.startup_seconds, clock=parts.clock)
    try:
        await run_roles(held, drain_seconds=settings.drain_seconds)
    finally:
        await parts.verifier.close()
        await parts.db.close()
    return 0
