"""One live session: the state machine, its process, and the futures of those who wait for answers.

Owns carrying out what the state machine says. Refuses decisions of its own: every one is in `domain/session.py`.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from mesh_runtime.clock import Clock
from mesh_runtime.logs import get_logger
from pwsh_gateway.adapters.hosts.process import HostCommand, HostProcess, Listener
from pwsh_gateway.domain.protocol import Answer, CmdletError, Frame, FrameReader, Invocation, Noise, Overflow, encode
from pwsh_gateway.domain.session import Session
from pwsh_gateway.domain.session_events import (
    Answered,
    DrainWished,
    Ended,
    Event,
    FrameSeen,
    Invoked,
    Kill,
    MemorySampled,
    Opened,
    ProcessEnded,
    Ready,
    Released,
    Reserved,
    Send,
    SessionLimits,
    Terminated,
    Ticked,
)
from pwsh_gateway.domain.sessions import SessionKey, SessionRecord

_log = get_logger("pwsh_gateway.session")


class HostedSession:
    """A session with its process. `changed` is called after every change, `ready` when a visit may take it."""

    def __init__(
        self,
        *,
        session_id: uuid.UUID,
        key: SessionKey,
        customer: str,
        canary: bool,
        connect: Mapping[str, Any],
        limits: SessionLimits,
        clock: Clock,
        changed: Callable[[HostedSession], None],
        ready: Callable[[HostedSession], None],
    ) -> None:
        self.session_id = session_id
        self.key = key
        self.customer = customer
        self.canary = canary
        self._clock = clock
        self._changed = changed
        self._ready = ready
        self._machine = Session(tenant_id=key.tenant_id, connect=connect, limits=limits, now=clock.monotonic())
        self._reader = FrameReader()
        self._process: HostProcess | None = None
        self._pending: dict[str, asyncio.Future[Answer]] = {}
        self._first: asyncio.Future[CmdletError | None] = asyncio.get_running_loop().create_future()
        self._ended = asyncio.Event()
        self._diagnostic = ""
        self._started_at = clock.now()
        self._connected_at: datetime | None = None
        self._last_used_at: datetime | None = None
        self._ended_at: datetime | None = None
        self._operation_id: uuid.UUID | None = None
        self._error: str | None = None

    async def start(self, command: HostCommand) -> None:
        """Starts the process and sends the connect request; `connected` tells how it went."""
        listener = Listener(self._on_output, self._on_diagnostic, lambda: self._feed(ProcessEnded()))
        try:
            self._process = await HostProcess.start(command, listener)
        except OSError as error:
            self._error = f"the session host did not start: {error.strerror or error}"
            _log.error("session.not_started", program=command.argv[0], reason=self._error)
            self._feed(Terminated("not-started"))
            return
        self._feed(Opened())

    async def connected(self) -> CmdletError | None:
        """None once the session can be used, else why it never will be."""
        return await asyncio.shield(self._first)

    async def ended(self) -> None:
        """Waits for the end of the session and of its process."""
        await self._ended.wait()
        if self._process is not None:
            await self._process.closed()

    @property
    def state(self) -> str:
        return self._machine.state

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def memory_bytes(self) -> int:
        return self._machine.memory_bytes

    @property
    def reason(self) -> str | None:
        return self._machine.reason

    @property
    def executions(self) -> int:
        return self._machine.executions

    def usable(self) -> bool:
        """Whether a visit may take it."""
        return self._machine.usable()

    def idle_seconds(self) -> float:
        """How long nobody has used it."""
        return self._machine.idle_seconds(self._clock.monotonic())

    def reserve(self) -> None:
        self._feed(Reserved())

    def serve(self, operation_id: uuid.UUID) -> None:
        """From now on it works for this operation."""
        self._operation_id = operation_id

    async def invoke(self, invocation: Invocation, timeout_seconds: float) -> Answer:
        """Runs one cmdlet. A session that ends meanwhile answers Lost."""
        # Unguessable, so nothing a module prints can pass for the answer.
        request_id = uuid.uuid4().hex
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._pending[request_id] = answer
        message = {
            "op": "invoke",
            "cmdlet": invocation.cmdlet,
            "params": dict(invocation.params),
            "select": list(invocation.fields) if invocation.fields is not None else None,
            "assert_tenant": self.key.tenant_id,
        }
        self._last_used_at = self._clock.now()
        try:
            self._feed(Invoked(request_id, message, timeout_seconds))
            return await answer
        finally:
            self._pending.pop(request_id, None)

    def release(self) -> None:
        """The visit is over."""
        self._operation_id = None
        self._last_used_at = self._clock.now()
        if self.canary:
            self._feed(DrainWished("canary-done"))
        self._feed(Released())

    def drain(self, reason: str) -> None:
        self._feed(DrainWished(reason))

    def terminate(self, reason: str) -> None:
        self._feed(Terminated(reason))

    def tick(self) -> None:
        self._feed(Ticked())

    def sampled(self, size_bytes: int) -> None:
        self._feed(MemorySampled(size_bytes))

    def record(self) -> SessionRecord:
        """The session as it is shown and stored."""
        machine = self._machine
        return SessionRecord(
            session_id=self.session_id,
            key=self.key,
            customer=self.customer,
            canary=self.canary,
            state=machine.state,
            pid=self.pid,
            module_version=machine.module_version,
            reason=machine.reason,
            error=self._error,
            executions=machine.executions,
            memory_bytes=machine.memory_bytes,
            operation_id=self._operation_id,
            started_at=self._started_at,
            connected_at=self._connected_at,
            last_used_at=self._last_used_at,
            ended_at=self._ended_at,
        )

    def _feed(self, event: Event) -> None:
        before = self._machine.state
        for action in self._machine.handle(event, self._clock.monotonic()):
            self._act(action)
        if self._machine.state != before or isinstance(event, Released | MemorySampled):
            self._changed(self)

    def _act(self, action: object) -> None:
        match action:
            case Send(message):
                if self._process is not None:
                    self._process.send(encode(message))
            case Kill():
                if self._process is not None:
                    self._process.kill()
            case Answered(request_id, answer):
                waiting = self._pending.get(request_id)
                if waiting is not None and not waiting.done():
                    waiting.set_result(answer)
            case Ready():
                if not self._first.done():
                    self._connected_at = self._clock.now()
                    self._first.set_result(None)
                self._ready(self)
            case Ended(reason, error):
                self._end(reason, error)

    def _end(self, reason: str, error: CmdletError | None) -> None:
        self._ended_at = self._clock.now()
        self._operation_id = None
        if error is not None:
            self._error = error.message[:1000]
        elif reason == "process-ended" and self._error is None:
            self._error = self._diagnostic or None
        if not self._first.done():
            self._first.set_result(
                error or CmdletError(self._error or f"the session ended: {reason}", fqid="UcmeshHost")
            )
        self._ended.set()
        _log.info(
            "session.ended",
            session_id=str(self.session_id),
            tenant_id=self.key.tenant_id,
            module=self.key.module,
            reason=reason,
            executions=self._machine.executions,
            error=self._error,
        )

    def _on_output(self, data: bytes) -> None:
        for event in self._reader.feed(data):
            match event:
                case Frame(body):
                    self._feed(FrameSeen(body))
                case Noise(text):
                    _log.debug("session.noise", session_id=str(self.session_id), text=text)
                case Overflow():
                    self._feed(Terminated("output-too-long"))

    def _on_diagnostic(self, text: str) -> None:
        if text:
            self._diagnostic = text[-500:]
            _log.warning("session.stderr", session_id=str(self.session_id), text=text)
