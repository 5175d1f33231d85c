"""The composition root: the only file that knows concrete classes and settings."""

from collections.abc import Sequence

from cert_manager.adapters.certificates import SelfSignedIssuer
from cert_manager.adapters.db.certificates import CertificateReads
from cert_manager.adapters.db.units import WAKE_CHANNEL, DatabaseUnits
from cert_manager.adapters.vault import SEALED_COLUMNS, SealedVault, read_receivers
from cert_manager.application import EnsureCredential, Reconcile, TakeAnswers
from cert_manager.domain.policy import Limits
from cert_manager.entrypoints import consumer, http
from cert_manager.entrypoints.workers import ReconcileWorker
from cert_manager.settings import CertManagerSettings
from cert_manager.wire import Messages
from mesh_messaging import replay
from mesh_messaging.consumer import BatchConsumer
from mesh_messaging.deadletters_http import router as dead_letters
from mesh_messaging.kafka import KafkaSettings
from mesh_messaging.relay import Relay
from mesh_runtime import logs, migrations, resealing, startup, telemetry
from mesh_runtime.auth import TokenVerifier
from mesh_runtime.clock import Clock, Uuid7Ids
from mesh_runtime.database_clock import DatabaseClock
from mesh_runtime.db import Database
from mesh_runtime.health import Health
from mesh_runtime.http import Server, create_app
from mesh_runtime.roles import Role, parse_roles, run_roles
from mesh_runtime.sealing import Sealer, SealingKey
from mesh_runtime.settings import SettingsError, load_settings

NAME = "cert-manager"
PACKAGE = "cert_manager"
DESCRIPTION = (
    "Certificates of customers' app registrations: made here, sealed to the services that log in with them, "
    "registered in Entra, and used only after a log-in succeeded on Graph, Exchange and Teams."
)


async def run(argv: Sequence[str]) -> int:
    """Migrates, then runs the named roles until SIGTERM; `reseal` puts its secrets under the active key."""
    settings = load_settings(CertManagerSettings)
    logs.configure(NAME, settings.log_level)
    if argv[:1] == ["reseal"]:
        return await resealing.run(argv[1:], settings, SEALED_COLUMNS)
    if argv[:1] == ["replay"]:
        kafka = KafkaSettings.from_service(settings, NAME)
        return await replay.run(argv[1:], kafka, name=NAME, topics=consumer.TOPICS)
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
    settings: CertManagerSettings, db: Database, clock: Clock, verifier: TokenVerifier, health: Health
) -> dict[str, Role]:
    kafka = KafkaSettings.from_service(settings, NAME)
    ids = Uuid7Ids()
    units = DatabaseUnits(db, Messages(clock=clock, ids=ids))
    vault = _vault(settings)
    limits = Limits(
        retry_first_seconds=settings.probe_retry_first_seconds,
        verify_deadline_seconds=settings.verify_deadline_seconds,
    )
    reconcile = Reconcile(units, SelfSignedIssuer(), vault, clock=clock, ids=ids, limits=limits)
    worker = ReconcileWorker(units, reconcile, lambda woken: db.raw_listen(WAKE_CHANNEL, woken))
    table = consumer.handlers(units.on, EnsureCredential(vault), TakeAnswers())
    messages = BatchConsumer(kafka, db, name=NAME, topics=consumer.TOPICS, handlers=table, clock=clock)
    app = create_app(
        title=NAME,
        version="1.0.0",
        description=DESCRIPTION,
        verifier=verifier,
        health=health,
        routers=[http.router(CertificateReads(db)), dead_letters(db, clock)],
    )
    return {
        "api": Role("api", Server.of(settings, app, health).run),
        "consumer": Role("consumer", messages.run),
        "relay": Role("relay", Relay(db, kafka.make_producer).run),
        "worker": Role("worker", worker.run),
    }


def _vault(settings: CertManagerSettings) -> SealedVault:
    if settings.sealing_key_file is None:
        raise SettingsError(
            "cannot start, 1 setting to fix:\n  CERT_MANAGER_SEALING_KEY_FILE: is not set "
            "(set the private JWK, EC P-256, for what others seal for this service)"
        )
    try:
        receivers = read_receivers(settings.receivers_file)
    except ValueError as error:
        raise SettingsError(f"cannot start, 1 setting to fix:\n  CERT_MANAGER_RECEIVERS_FILE: {error}") from error
    return SealedVault(Sealer.from_file(settings.kek_file), SealingKey.from_file(settings.sealing_key_file), receivers)
