"""One process of the rival: the joiner's steps as a DBOS workflow, one client for all Graph calls.

    python -m joining.rival_worker     the task as one JSON line on standard input; "ready" and times on standard output

Owns the workflow. It is written as its users would write it, with what makes it fast: asynchronous steps, a shared
connection pool, workflows started directly (no queue in between), many at a time. Left out in its favour: taking in
HR's events, choosing names, rules and licences by a customer's configuration, reservations, undo, tracing.
"""

import asyncio
import importlib.util
import json
import ssl
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# httpx's transport asks for this module at every lock it makes, and not to find it costs a search of all folders each
# time. Saying at once that it is not there is in the rival's favour.
if importlib.util.find_spec("sniffio") is None:
    sys.modules["sniffio"] = None  # type: ignore[assignment]

import httpx
import orjson
import uvloop
from dbos import DBOS, DBOSConfig, SetWorkflowID

SEEN = "id,userPrincipalName,employeeId,accountEnabled,displayName,usageLocation,assignedLicenses"
READ_BACK = (
    "id,userPrincipalName,employeeId,accountEnabled,displayName,givenName,surname,jobTitle,department,companyName,"
    "officeLocation,city,country,usageLocation,mobilePhone,businessPhones,mailNickname,preferredLanguage,"
    "assignedLicenses,assignedPlans"
)
ATTRIBUTES = {
    "givenName": "given_name",
    "surname": "surname",
    "jobTitle": "job_title",
    "department": "department",
    "companyName": "company",
    "officeLocation": "office",
    "city": "city",
    "country": "country",
}


@dataclass(frozen=True, slots=True)
class Task:
    """What the parent asks for. `same_requests`: also the reads of the mesh's operations; else one call a step."""

    login_url: str
    graph_url: str
    ca_file: str
    tenant_id: str
    client_id: str
    secret: str
    domain: str
    manager_id: str
    group_ids: list[str]
    sku_id: str
    database_url: str
    worker: int
    at_once: int
    same_requests: bool
    warm_up: list[dict[str, Any]]
    people: list[dict[str, Any]]


class Graph:
    """Microsoft Graph with one token and one pool of connections."""

    def __init__(self, task: Task) -> None:
        self._task = task
        limits = httpx.Limits(max_connections=task.at_once, max_keepalive_connections=task.at_once)
        context = ssl.create_default_context(cafile=task.ca_file)
        self._http = httpx.AsyncClient(verify=context, limits=limits, timeout=60, trust_env=False)

    async def log_in(self) -> None:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._task.client_id,
            "client_secret": self._task.secret,
            "scope": "https://graph.microsoft.com/.default",
        }
        answer = await self._http.post(f"{self._task.login_url}/{self._task.tenant_id}/oauth2/v2.0/token", data=form)
        self._http.headers["authorization"] = f"Bearer {answer.raise_for_status().json()['access_token']}"

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """The JSON answer; HTTPStatusError for anything but success."""
        content = None if body is None else orjson.dumps(body)
        headers = {"content-type": "application/json"} if content else None
        answer = await self._http.request(method, self._task.graph_url + path, content=content, headers=headers)
        return orjson.loads(answer.raise_for_status().content or b"null")

    async def close(self) -> None:
        await self._http.aclose()


_now: tuple[Task, Graph] | None = None


def now() -> tuple[Task, Graph]:
    assert _now is not None
    return _now


@DBOS.step(name="user.observe")
async def observe_user(employee_id: str, upn: str) -> str | None:
    task, graph = now()
    if task.same_requests:
        await graph.call(
            "GET", f"/users?$filter=userPrincipalName in ('{upn}')&$select=id,userPrincipalName,employeeId"
        )
    found = await graph.call("GET", f"/users?$filter=employeeId eq '{employee_id}'&$select={SEEN}")
    return found["value"][0]["id"] if found["value"] else None


@DBOS.step(name="user.ensure")
async def create_user(upn: str, employee_id: str, facts: dict[str, Any]) -> str:
    _, graph = now()
    attributes = {graph_name: facts[fact] for graph_name, fact in ATTRIBUTES.items() if facts.get(fact)}
    body = {
        **attributes,
        "accountEnabled": True,
        "displayName": f"{facts['given_name']} {facts['surname']}",
        "mailNickname": upn.partition("@")[0],
        "usageLocation": "CH",
        "preferredLanguage": "de-CH",
        "userPrincipalName": upn,
        "employeeId": employee_id,
        "passwordProfile": {"forceChangePasswordNextSignIn": True, "password": "Xq7-pLd9.vRt2"},
    }
    return str((await graph.call("POST", "/users", body))["id"])


@DBOS.step(name="group.add-member")
async def add_member(group_id: str, user_id: str) -> None:
    task, graph = now()
    reference = {"@odata.id": f"{task.graph_url}/directoryObjects/{user_id}"}
    await graph.call("POST", f"/groups/{group_id}/members/$ref", reference)


@DBOS.step(name="licence.assign")
async def assign_licence(user_id: str, sku_id: str) -> None:
    task, graph = now()
    if task.same_requests:
        await graph.call("GET", f"/users/{user_id}?$select=id,assignedLicenses")
    body = {"addLicenses": [{"skuId": sku_id, "disabledPlans": []}], "removeLicenses": []}
    await graph.call("POST", f"/users/{user_id}/assignLicense", body)


@DBOS.step(name="user.set-manager")
async def set_manager(user_id: str, manager_id: str) -> None:
    task, graph = now()
    if task.same_requests:
        await graph.call("GET", f"/users/{user_id}?$select=id&$expand=manager($select=id)")
        await graph.call("GET", f"/users/{manager_id}?$select=id")
    reference = {"@odata.id": f"{task.graph_url}/users/{manager_id}"}
    await graph.call("PUT", f"/users/{user_id}/manager/$ref", reference)


@DBOS.step(name="user.get")
async def read_back(user_id: str) -> dict[str, Any]:
    task, graph = now()
    path = f"/users/{user_id}?$select={READ_BACK}&$expand=manager($select=id)"
    user: dict[str, Any] = await graph.call("GET", path)
    if task.same_requests:
        await graph.call("GET", f"/users/{user_id}/memberOf?$select=id&$top=999")
    return user


@DBOS.workflow(name="joiner")
async def joiner(person: dict[str, Any]) -> str:
    """The user's id."""
    task, _ = now()
    employee_id, facts = person["employee_id"], person["person"]
    upn = f"{facts['given_name']}.{facts['surname']}@{task.domain}".lower()
    user_id = await observe_user(employee_id, upn) or await create_user(upn, employee_id, facts)
    for group_id in task.group_ids:
        await add_member(group_id, user_id)
    await assign_licence(user_id, task.sku_id)
    await set_manager(user_id, task.manager_id)
    user = await read_back(user_id)
    wrong = user["employeeId"] != employee_id or [each["skuId"] for each in user["assignedLicenses"]] != [task.sku_id]
    if wrong or user["displayName"] != f"{facts['given_name']} {facts['surname']}":
        raise ValueError(f"{upn} is not as it should be")
    return user_id


def workflow_id(person: Mapping[str, Any]) -> str:
    """Everybody joins once."""
    return f"joiner-{person['employee_id']}"


async def run_all(task: Task, people: list[dict[str, Any]]) -> None:
    """All of them, `at_once` at a time. Any failure is the caller's."""
    free = asyncio.Semaphore(task.at_once)

    async def one(person: dict[str, Any]) -> None:
        async with free:
            with SetWorkflowID(workflow_id(person)):
                handle = await DBOS.start_workflow_async(joiner, person)
            await handle.get_result()

    await asyncio.gather(*(one(person) for person in people))


async def work(task: Task) -> None:
    """Warm up, say "ready", wait for a line, work, say when it began and ended (epoch), wait for a line, leave."""
    global _now
    graph = Graph(task)
    _now = (task, graph)
    config: DBOSConfig = {
        "name": "joiner-rival",
        "system_database_url": task.database_url,
        "executor_id": f"rival-{task.worker}",
        "log_level": "ERROR",
    }
    DBOS(config=config)
    DBOS.launch()
    try:
        await graph.log_in()
        await run_all(task, task.warm_up)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        began = time.time()
        await run_all(task, task.people)
        print(json.dumps({"began": began, "ended": time.time()}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
    finally:
        await graph.close()
        await asyncio.to_thread(DBOS.destroy)


def main() -> None:
    uvloop.run(work(Task(**json.loads(sys.stdin.readline()))))


if __name__ == "__main__":
    main()
