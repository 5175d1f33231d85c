"""A gateway to try things in: a migrated database, the real worker, a session host, and doors to put commands in.

The host is the scripted one unless a test gives another. Replies are read from the outbox, as the relay would.
"""

import asyncio
import base64
import contextlib
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy import text

from mesh_messaging.testing import drain_outbox
from mesh_runtime.db import Database
from pwsh_gateway import main, wire
from pwsh_gateway.adapters.hosts.process import HostCommand
from pwsh_gateway.application import AcceptCommands
from pwsh_gateway.domain.sessions import Credential, CredentialFacts
from pwsh_gateway.entrypoints.workers import Worker
from pwsh_gateway.settings import GatewaySettings
from support.waiting import eventually

TENANT = "8d2f6c1e-3b7a-4c55-9f1e-2a6d0c4b7e11"
OTHER_TENANT = "5a1e0c9d-44c2-4f6e-9b3a-7d1f00aa22bb"
REPLIES = "ucmesh.orchestrator.replies.v1"
ADAM = "adam.keller@northwind.example"
ZOE = "zoe.mueller@northwind.example"
NUMBER = "+41445551000"
HOST = Path(__file__).with_name("scripted_host.py")


@dataclass(slots=True)
class Script:
    """The folder of a scripted host."""

    folder: Path

    def command(self) -> HostCommand:
        return HostCommand((sys.executable, "-S", "-E", str(HOST), str(self.folder)))

    def users(self, **users: Mapping[str, Any]) -> None:
        (self.folder / "users.json").write_text(json.dumps(users))

    def user(self, identity: str = ZOE) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "users.json").read_text())[identity]
        return found

    def faults(self, *faults: Mapping[str, Any]) -> None:
        (self.folder / "faults.json").write_text(json.dumps({"faults": faults}))

    def calls(self, cmdlet: str | None = None) -> list[dict[str, Any]]:
        path = self.folder / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        calls = [json.loads(line) for line in lines]
        return [call for call in calls if cmdlet is None or call["cmdlet"] == cmdlet]

    def cmdlets(self) -> list[str]:
        return [call["cmdlet"] for call in self.calls() if call["cmdlet"] != "connect"]

    def effects(self, cmdlet: str) -> int:
        return len([call for call in self.calls(cmdlet) if call["effect"]])


@dataclass(slots=True)
class Gateway:
    """One replica on one database."""

    parts: main.Parts
    command: HostCommand
    replies: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: list[Any] = field(default_factory=list)

    @property
    def db(self) -> Database:
        return self.parts.db

    def worker(self) -> Worker:
        return main.build_worker(self.parts, self.command)

    def another(self) -> "Gateway":
        """A second replica on the same database."""
        return replace(self, parts=replace(self.parts, instance=uuid.uuid4()))

    @contextlib.asynccontextmanager
    async def running(self, *others: "Gateway") -> AsyncIterator[Worker]:
        stop = asyncio.Event()
        workers = [self.worker(), *(other.worker() for other in others)]
        tasks = [asyncio.create_task(worker.run(stop)) for worker in workers]
        try:
            yield workers[0]
        finally:
            stop.set()
            done, late = await asyncio.wait(tasks, timeout=20)
            for task in late:
                task.cancel()
            for task in done:
                task.result()
            assert not late, "a worker did not drain"

    async def configure(self, **values: Any) -> None:
        """Settings by API name, with _ for the dot."""
        changes = {key.replace("_", ".", 1): value for key, value in values.items()}
        change = main.ChangeConfig(self.parts.stored_settings, self.parts.bell, self.db.transaction, self.parts.clock)
        await change(changes, "test")

    async def give_credential(
        self,
        tenant: str = TENANT,
        *,
        customer: str = "northwind",
        active: bool = True,
        credential_id: uuid.UUID | None = None,
        pfx: str = base64.b64encode(b"not a real one").decode(),
        password: str = "s3cret",
        client_id: str = "c1",
        organization: str = "northwind.onmicrosoft.com",
    ) -> uuid.UUID:
        now = datetime.now(UTC)
        facts = CredentialFacts(
            credential_id or uuid.uuid4(), tenant, customer, client_id, organization, "commercial", None, now,
            now + timedelta(days=30),
        )  # fmt: skip
        async with self.db.transaction() as tx:
            await self.parts.credentials.add(tx, Credential(facts, pfx, password), now)
            if active:
                await self.parts.credentials.activate(tx, tenant, facts.credential_id, now)
            await self.parts.bell.control(tx)
        return facts.credential_id

    async def accept(self, *payloads: Mapping[str, Any], traceparent: str | None = None) -> None:
        """As the consumer does: one batch, one transaction."""
        accept = AcceptCommands(
            self.parts.queue, self.parts.catalogue, self.parts.announcer, self.parts.bell, self.parts.clock
        )
        commands = [wire.ExecutePayload.model_validate(payload).command(traceparent) for payload in payloads]
        async with self.db.transaction() as tx:
            await accept(tx, commands)

    async def do(self, operation: str, **options: Any) -> dict[str, Any]:
        """Puts one operation in and waits for its reply."""
        (reply,) = await self.do_all(command(operation, **options))
        return reply

    async def do_all(self, *payloads: Mapping[str, Any], seconds: float = 15) -> list[dict[str, Any]]:
        await self.accept(*payloads)
        return await self.await_replies(*payloads, seconds=seconds)

    async def await_replies(self, *payloads: Mapping[str, Any], seconds: float = 15) -> list[dict[str, Any]]:
        ids = [str(payload["operation_id"]) for payload in payloads]

        async def there() -> bool:
            await self.collect()
            return all(identifier in self.replies for identifier in ids)

        await eventually(there, seconds=seconds, what=f"replies to {ids}")
        return [self.replies[identifier] for identifier in ids]

    async def collect(self) -> None:
        """Takes everything out of the outbox."""
        async with self.db.transaction() as tx:
            for message in await drain_outbox(tx):
                if message.event.type == wire.COMPLETED:
                    payload = message.event.json()
                    self.replies[payload["operation_id"]] = payload
                self.events.append(message)

    async def rows(self, statement: str, **values: Any) -> Sequence[Any]:
        async with self.db.transaction() as tx:
            return (await tx.execute(text(statement), values)).all()


def command(operation: str, *, seconds: float = 60, **options: Any) -> dict[str, Any]:
    """An execute payload; `params` default to the identity of the target."""
    target = options.get("target", ZOE)
    payload = {
        "operation_id": str(uuid.uuid4()),
        "operation": operation,
        "version": 1,
        "tenant_id": TENANT,
        "target": target,
        "params": {"identity": target},
        "deadline": (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(),
        "reply_to": REPLIES,
        "plan_id": None,
    }
    return payload | options


def assign(number: str = NUMBER, target: str = ZOE, **options: Any) -> dict[str, Any]:
    params = {"identity": target, "telephone_number": number, "number_type": "DirectRouting"}
    return command("teams.number.assign", target=target, params=params, **options)


def grant(policy_type: str, policy_name: str | None, target: str = ZOE, **options: Any) -> dict[str, Any]:
    params = {"identity": target, "policy_type": policy_type, "policy_name": policy_name}
    return command("teams.policy.grant", target=target, params=params, **options)


_EMPTY = """
TRUNCATE operation, session, execution, credential, config_change, gateway_instance, outbox, inbox, parked_message,
dead_letter
"""


async def make_gateway(url: str, command: HostCommand, folder: Path, **settings: Any) -> Gateway:
    """Migrates and seeds the database and empties what an earlier test left in it."""
    kek = folder / "kek.json"
    kek.write_text(json.dumps({"active": "k1", "keys": {"k1": base64.b64encode(os.urandom(32)).decode()}}))
    values: dict[str, Any] = {
        "database_url": SecretStr(url),
        "kafka_bootstrap": "127.0.0.1:1",
        "oidc_issuer": "http://127.0.0.1:1",
        "http_port": 0,
        "kek_file": kek,
        "lease_seconds": 2,
        **settings,
    }
    parts = main.build(GatewaySettings(**values))
    await main.seed(parts)
    async with parts.db.transaction() as tx:
        await tx.execute(text(_EMPTY))
        await tx.execute(text("DELETE FROM error_rules WHERE actor <> 'shipped'"))
    return Gateway(parts, command)
