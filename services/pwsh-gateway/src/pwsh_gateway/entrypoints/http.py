"""The management API: sessions, executions, settings, error rules, credentials without secrets.

Owns the routes. Refuses decisions and SQL; shapes are in `http_views`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query

from mesh_runtime.auth import Principal, require
from mesh_runtime.errors import NotFound
from mesh_runtime.paging import After, Limit, Page, decode_cursor, encode_cursor
from pwsh_gateway.application import ChangeConfig, ReplaceRules, TerminateSession
from pwsh_gateway.domain.catalogue import Catalogue
from pwsh_gateway.domain.error_rules import rules_as_data
from pwsh_gateway.domain.operations import Module
from pwsh_gateway.domain.ports import (
    CredentialStore,
    ExecutionLog,
    SessionStore,
    SettingsStore,
    Transaction,
)
from pwsh_gateway.domain.protocol import CmdletError
from pwsh_gateway.entrypoints.http_views import (
    ConfigChangeView,
    ConfigView,
    CredentialView,
    ExecutionView,
    SessionView,
    TryRequest,
    config_view,
    execution_view,
    session_view,
)

Shown = Literal["starting", "connecting", "idle", "busy", "draining", "dead", "all"]
Reader = Annotated[Principal, Depends(require("mesh.read"))]
Admin = Annotated[Principal, Depends(require("mesh.admin"))]


@dataclass(frozen=True, slots=True)
class Management:
    """What the API works with. `read` opens a read-only transaction."""

    read: Callable[[], AbstractAsyncContextManager[Transaction]]
    sessions: SessionStore
    log: ExecutionLog
    settings: SettingsStore
    credentials: CredentialStore
    catalogue: Catalogue
    change_config: ChangeConfig
    replace_rules: ReplaceRules
    terminate: TerminateSession


def routers(api: Management) -> list[APIRouter]:
    """Every router of this service but health and dead letters."""
    return [_sessions(api), _executions(api), _config(api), _rules(api), _facts(api)]


def _sessions(api: Management) -> APIRouter:
    router = APIRouter(prefix="/sessions", tags=["sessions"])

    @router.get("", summary="List living sessions of all replicas, newest first")
    async def list_sessions(
        *,
        _: Reader,
        tenant_id: str | None = None,
        module: Module | None = None,
        state: Shown | None = None,
        after: After = None,
        limit: Limit = 50,
    ) -> Page[SessionView]:
        """`state=dead` lists those that ended, `state=all` every one."""
        key = _key(after)
        async with api.read() as tx:
            found = await api.sessions.page(
                tx, tenant_id=tenant_id, module=module, state=state, after=key, limit=limit + 1
            )
        following = encode_cursor(str(found[limit - 1].record.session_id)) if len(found) > limit else None
        return Page(items=[session_view(item) for item in found[:limit]], next=following)

    @router.get("/{session_id}", summary="Show one session")
    async def show_session(session_id: uuid.UUID, _: Reader) -> SessionView:
        async with api.read() as tx:
            stored = await api.sessions.get(tx, session_id)
        if stored is None:
            raise NotFound("there is no session with this id", detail={"session_id": str(session_id)})
        return session_view(stored)

    @router.delete("/{session_id}", status_code=202, summary="End one session now")
    async def terminate_session(session_id: uuid.UUID, admin: Admin) -> dict[str, str]:
        """The replica that runs it kills it. What it was doing is read back and, where needed, done again."""
        await api.terminate(session_id, admin.subject)
        return {"status": "terminating"}

    return router


def _executions(api: Management) -> APIRouter:
    router = APIRouter(prefix="/executions", tags=["executions"])

    @router.get("", summary="The execution log, newest first")
    async def list_executions(
        *,
        _: Reader,
        session_id: uuid.UUID | None = None,
        operation_id: uuid.UUID | None = None,
        after: After = None,
        limit: Limit = 50,
    ) -> Page[ExecutionView]:
        key = _key(after)
        async with api.read() as tx:
            found = await api.log.page(tx, session_id=session_id, operation_id=operation_id, after=key, limit=limit + 1)
        following = encode_cursor(str(found[limit - 1].execution_id)) if len(found) > limit else None
        return Page(items=[execution_view(item) for item in found[:limit]], next=following)

    @router.get("/{execution_id}", summary="Show one execution")
    async def show_execution(execution_id: uuid.UUID, _: Reader) -> ExecutionView:
        async with api.read() as tx:
            found = await api.log.get(tx, execution_id)
        if found is None:
            raise NotFound("there is no execution with this id", detail={"execution_id": str(execution_id)})
        return execution_view(found)

    return router


def _config(api: Management) -> APIRouter:
    router = APIRouter(prefix="/config", tags=["settings"])

    @router.get("", summary="Settings in force")
    async def show_config(_: Reader) -> ConfigView:
        async with api.read() as tx:
            return config_view(await api.settings.config(tx))

    @router.patch("", summary="Change settings; they take effect at once on every replica")
    async def change_config(changes: dict[str, Any], admin: Admin) -> ConfigView:
        """Keys as GET shows them. Lowered limits drain, they end nothing that runs."""
        return config_view(await api.change_config(changes, admin.subject))

    @router.get("/history", summary="Who changed which setting, newest first")
    async def history(
        _: Reader, before: Annotated[int | None, Query(ge=1)] = None, limit: Limit = 50
    ) -> list[ConfigChangeView]:
        async with api.read() as tx:
            found = await api.settings.config_history(tx, before, limit)
        return [ConfigChangeView(number=c.number, at=c.at, actor=c.actor, changes=dict(c.content)) for c in found]

    return router


def _rules(api: Management) -> APIRouter:
    router = APIRouter(prefix="/error-rules", tags=["error rules"])

    @router.get("", summary="The ordered table; the first rule that fits decides")
    async def show_rules(_: Reader) -> list[dict[str, Any]]:
        async with api.read() as tx:
            return rules_as_data(await api.settings.rules(tx))

    @router.put("", summary="Replace the whole table")
    async def replace_rules(rules: list[dict[str, Any]], admin: Admin) -> list[dict[str, Any]]:
        return rules_as_data(await api.replace_rules(rules, admin.subject))

    @router.post("/try", summary="Which rule would decide about this error?")
    async def try_rules(request: TryRequest, _: Reader) -> dict[str, Any]:
        async with api.read() as tx:
            rules = await api.settings.rules(tx)
        fields = request.model_dump(exclude={"module"})
        rule = rules.rule_for(CmdletError(**fields), request.module)
        return {
            "rule": rule.id,
            "class": rule.error_class,
            "action": rule.action,
            "code": rule.code,
            "outcome": rule.outcome,
            "retryable": rule.retryable,
            "remedy": rule.remedy,
        }

    return router


def _facts(api: Management) -> APIRouter:
    router = APIRouter()

    @router.get("/operations", tags=["catalogue"], summary="The operation catalogue")
    async def operations(_: Reader) -> list[dict[str, Any]]:
        """Names, versions and parameters a command may use."""
        entries = sorted(api.catalogue.entries.values(), key=lambda entry: (entry.operation, entry.version))
        return [
            {
                "operation": entry.operation,
                "version": entry.version,
                "module": entry.module,
                "title": entry.title,
                "changes": entry.write is not None,
                "params": {name: parameter.describe() for name, parameter in entry.params.items()},
            }
            for entry in entries
        ]

    @router.get("/credentials", tags=["credentials"], summary="Delivered credentials of a tenant, without secrets")
    async def credentials(_: Reader, tenant_id: str) -> list[CredentialView]:
        async with api.read() as tx:
            found = await api.credentials.facts(tx, tenant_id.lower())
        return [CredentialView(**asdict(facts), state=state) for facts, state in found]

    return router


def _key(after: str | None) -> uuid.UUID | None:
    if after is None:
        return None
    (key,) = decode_cursor(after, (uuid.UUID,))
    return key if isinstance(key, uuid.UUID) else None
