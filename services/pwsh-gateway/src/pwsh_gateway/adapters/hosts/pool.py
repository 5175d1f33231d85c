"""The live sessions of this replica: warm ones are used again, new ones are started, idle ones make room.

Owns which session a visit gets, and the journal of what happened to sessions. Refuses to hand a session to another
tenant, module or credential than it was made for: the key says it all and never changes.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from mesh_runtime.clock import Clock, IdGenerator
from mesh_runtime.errors import MeshError
from mesh_runtime.logs import get_logger
from pwsh_gateway.adapters.hosts.live import HostedSession
from pwsh_gateway.adapters.hosts.process import HostCommand
from pwsh_gateway.domain.config import MB, GatewayConfig
from pwsh_gateway.domain.journal import JournalPage, SessionJournal
from pwsh_gateway.domain.operations import ACTIVE, Module
from pwsh_gateway.domain.ports import NoSession
from pwsh_gateway.domain.sessions import Credential, SessionKey
from pwsh_gateway.domain.visits import Visit

CLOSE_SECONDS_MAX = 8

_log = get_logger("pwsh_gateway.pool")


class LocalSessions:
    """The pool.

    `open_credential` answers None for one that is not known; `allowed` lists what a module's host may run.
    """

    def __init__(
        self,
        *,
        command: HostCommand,
        open_credential: Callable[[uuid.UUID], Awaitable[Credential | None]],
        allowed: Callable[[Module], Mapping[str, list[str]]],
        config: Callable[[], GatewayConfig],
        clock: Clock,
        ids: IdGenerator,
    ) -> None:
        self._command = command
        self._open_credential = open_credential
        self._allowed = allowed
        self._config = config
        self._clock = clock
        self._ids = ids
        self._live: dict[uuid.UUID, HostedSession] = {}
        self._waiting: dict[SessionKey, deque[asyncio.Future[HostedSession]]] = {}
        self._starting: Counter[SessionKey] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._journal = SessionJournal()
        self._room = asyncio.Event()
        self._closing = False

    async def acquire(self, visit: Visit) -> HostedSession:
        """A warm session of the visit's key, or a new one, whichever is there first. Raises NoSession."""
        if visit.credential_id is None:
            raise NoSession("no credential")
        if self._closing:
            raise NoSession("closing")
        key = SessionKey(visit.stream.tenant_id, visit.stream.module, visit.credential_id)
        if visit.stream.credential != ACTIVE:
            return await self._canary(key, visit.customer)
        warm = self._warmest(key)
        if warm is not None:
            warm.reserve()
            return warm
        waiter: asyncio.Future[HostedSession] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(waiter)
        self._spawn(self._look_after(waiter, key, visit.customer))
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.release(waiter.result())
            raise

    def release(self, session: Any) -> None:
        """Ends the visit; the session serves the next one in line or stays warm."""
        session.release()

    def sessions(self) -> list[HostedSession]:
        """Every session that is not dead."""
        return list(self._live.values())

    def drain_superseded(self, active: Mapping[str, uuid.UUID]) -> None:
        """Ends sessions whose credential is not the tenant's active one any more, after what they do now."""
        stale = [
            session
            for session in self._live.values()
            if not session.canary and active.get(session.key.tenant_id) not in {None, session.key.credential_id}
        ]
        for session in stale:
            session.drain("credential-rotated")

    def terminate(self, session_id: uuid.UUID, reason: str) -> None:
        """Ends one session now; a no-op when it is not here."""
        session = self._live.get(session_id)
        if session is not None:
            session.terminate(reason)

    def pids(self) -> list[int]:
        """Processes of the living sessions."""
        return [session.pid for session in self._live.values() if session.pid is not None]

    def tenants(self) -> list[str]:
        """Tenants with a living session."""
        return sorted({session.key.tenant_id for session in self._live.values()})

    def tick(self) -> None:
        """Lets every session look at the clock."""
        for session in self.sessions():
            session.tick()

    def sampled(self, memory_bytes: Mapping[int, int]) -> None:
        """Takes resident memory by pid; when all together hold too much, the longest idle sessions end."""
        for session in self.sessions():
            if session.pid is not None and session.pid in memory_bytes:
                session.sampled(memory_bytes[session.pid])
        excess = sum(s.memory_bytes for s in self._live.values()) - self._config().container_memory_mb_max * MB
        for session in self._idle_longest_first():
            if excess <= 0:
                return
            excess -= session.memory_bytes
            session.drain("container-memory")

    def take_journal(self) -> JournalPage:
        """Everything that changed since the last time."""
        return self._journal.take()

    def put_back(self, page: JournalPage) -> None:
        """The page could not be written."""
        self._journal.put_back(page)

    async def close(self) -> None:
        """Ends every session and waits for their processes, within bounds."""
        self._closing = True
        for waiter in [w for queue in self._waiting.values() for w in queue if not w.done()]:
            waiter.set_exception(NoSession("closing"))
        sessions = self.sessions()
        for session in sessions:
            session.drain("shutdown")
        ended = asyncio.gather(*(session.ended() for session in sessions))
        try:
            await asyncio.wait_for(asyncio.shield(ended), CLOSE_SECONDS_MAX / 2)
        except TimeoutError:
            for session in sessions:
                session.terminate("shutdown")
            await asyncio.wait([ended], timeout=CLOSE_SECONDS_MAX / 2)
        for task in self._tasks:
            task.cancel()

    def _warmest(self, key: SessionKey) -> HostedSession | None:
        warm = [s for s in self._live.values() if s.key == key and not s.canary and s.usable()]
        return min(warm, key=HostedSession.idle_seconds, default=None)

    def _idle_longest_first(self) -> list[HostedSession]:
        return sorted((s for s in self._live.values() if s.usable()), key=HostedSession.idle_seconds, reverse=True)

    async def _canary(self, key: SessionKey, customer: str) -> HostedSession:
        session = await self._start(key, customer, canary=True)
        error = await session.connected()
        if error is not None:
            raise NoSession(session.reason or "not-connected", error)
        session.reserve()
        return session

    async def _look_after(self, waiter: asyncio.Future[HostedSession], key: SessionKey, customer: str) -> None:
        """Starts a session for the waiter: at once when there is none, else when it had to wait for too long."""
        if self._starting[key] == 0 and not self._serving(key):
            await self._bring_up(key, customer)
        while not waiter.done():
            await asyncio.wait([waiter], timeout=self._config().session_patience_seconds)
            if not waiter.done() and self._starting[key] < len(self._waiting.get(key, ())):
                await self._bring_up(key, customer)

    def _serving(self, key: SessionKey) -> bool:
        return any(s.key == key and not s.canary and s.state in {"idle", "busy"} for s in self._live.values())

    async def _bring_up(self, key: SessionKey, customer: str) -> None:
        failure: NoSession | None = None
        self._starting[key] += 1
        try:
            session = await self._start(key, customer, canary=False)
            refusal = await session.connected()
            if refusal is not None:
                failure = NoSession(session.reason or "not-connected", refusal)
        except NoSession as refused:
            failure = refused
        except MeshError as error:
            failure = NoSession(error.code)
        finally:
            self._starting[key] -= 1
        # A session that came up was offered to those who wait when it got ready. A log-in that was refused is refused
        # for all of them: trying it once for each would be a storm.
        while failure is not None and not self._serving(key) and (other := self._next_waiter(key)) is not None:
            other.set_exception(failure)

    async def _start(self, key: SessionKey, customer: str, *, canary: bool) -> HostedSession:
        await self._make_room()
        credential = await self._open_credential(key.credential_id)
        if credential is None:
            raise NoSession("no credential")
        session = HostedSession(
            session_id=self._ids.new(),
            key=key,
            customer=customer,
            canary=canary,
            connect=_connect_request(key, credential, self._allowed(key.module)),
            limits=self._config().session_limits(),
            clock=self._clock,
            changed=self._on_change,
            ready=self._on_ready,
        )
        self._live[session.session_id] = session
        self._on_change(session)
        await session.start(self._command)
        return session

    async def _make_room(self) -> None:
        while len(self._live) >= self._config().concurrency_global_max:
            if self._closing:
                raise NoSession("closing")
            leaving = any(session.state == "draining" for session in self._live.values())
            idle = self._idle_longest_first()
            if idle and not leaving:
                idle[0].drain("evicted")
            self._room.clear()
            await self._room.wait()

    def _on_ready(self, session: HostedSession) -> None:
        self._room.set()
        if session.canary:
            return
        waiter = self._next_waiter(session.key)
        if waiter is not None:
            session.reserve()
            waiter.set_result(session)

    def _next_waiter(self, key: SessionKey) -> asyncio.Future[HostedSession] | None:
        queue = self._waiting.get(key, deque())
        while queue:
            waiter = queue.popleft()
            if not waiter.done():
                return waiter
        self._waiting.pop(key, None)
        return None

    def _on_change(self, session: HostedSession) -> None:
        record = session.record()
        self._journal.note(record, self._clock.now())
        if record.state == "dead":
            self._live.pop(session.session_id, None)
            self._room.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _connect_request(key: SessionKey, credential: Credential, allowed: Mapping[str, list[str]]) -> dict[str, Any]:
    return {
        "id": uuid.uuid4().hex,
        "op": "connect",
        "module": key.module,
        "allow": allowed,
        "tenant_id": key.tenant_id,
        "organization": credential.facts.organization,
        "client_id": credential.facts.client_id,
        "cloud": credential.facts.cloud,
        "pfx": credential.pfx,
        "password": credential.password,
    }
