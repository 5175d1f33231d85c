"""Answer operations the orchestrator carries out itself: is the person this plan waits for there? (LocalOperations)"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from orchestrator.application.rules import Rules
from orchestrator.domain.ports import LocalRequest, LocalResult
from orchestrator.participants.mesh import AWAIT_PERSON

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


class ResolveLocal:
    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    async def resolve(self, tx: "AsyncConnection", requests: Sequence[LocalRequest]) -> Mapping[UUID, LocalResult]:
        """Succeeded with the user's id once a plan of the person has succeeded; until then not yet."""
        keys = {request.request_id: _key(request) for request in requests if request.name == AWAIT_PERSON}
        users = await self._rules.people.users(tx, set(keys.values()))
        return {request.request_id: _answer(request, keys, users) for request in requests}


def _key(request: LocalRequest) -> tuple[str, str]:
    return str(request.params["customer"]), str(request.params["employee_id"])


def _answer(
    request: LocalRequest, keys: Mapping[UUID, tuple[str, str]], users: Mapping[tuple[str, str], tuple[str, str]]
) -> LocalResult:
    key = keys.get(request.request_id)
    if key is None:
        return LocalResult("refused", code="unknown-operation", message=f"there is no local operation {request.name}")
    user = users.get(key)
    if user is None:
        return LocalResult(
            "failed",
            code="person-not-provisioned",
            message=f"{key[1]} of {key[0]} has no proven user yet",
            remedy="Look at that person's own plan.",
        )
    return LocalResult("succeeded", {"user_id": user[0], "user_principal_name": user[1]})
