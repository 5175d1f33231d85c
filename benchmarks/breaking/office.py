"""The example customer Northwind with room for as many joiners as wanted, and its doors as HR and an admin use them.

Owns: who joins, sending until it is taken, and waiting. Every request is tried again: whoever answers may be dead.
"""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

from support.jumping_clock import JumpingClock
from ucmesh_embedded.replicas import replica_names
from ucmesh_embedded.stack import Stack
from ucmesh_embedded.topology import SERVICES, Options

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CUSTOMER = "northwind"
TENANT = "8d2f6c1e-3b7a-4c55-9f1e-2a6d0c4b7e11"
SECRET = "northwind-first-secret"
BOSS = "NW-BOSS"
BATCH_TYPE = "application/cloudevents-batch+json"
PAUSE_SECONDS = 0.3
READY_SECONDS_MAX = 180.0
QUICK = {"LEASE_SECONDS": "2"}
UNDER_WAY = ("observing", "running", "compensating")


def options(
    seed: int,
    replicas: int,
    *,
    keep_tenants: bool,
    durable: bool,
    pwsh: bool,
    doors: Mapping[str, int],
    clock: JumpingClock | None = None,
) -> Options:
    """Leases and pauses scaled down for a simulated tenant that answers in seconds. `clock` is the wall clock of every
    second replica.
    """
    wrong = {f"{service}-2": clock.environment for service in SERVICES} if clock is not None else {}
    return Options(
        durable=durable,
        trace_ratio=0,
        pwsh=pwsh,
        seed=seed,
        seed_file=EXAMPLES / "tenants.yaml",
        keep_tenants=keep_tenants,
        crashes_max=1_000_000,
        replicas=replicas,
        doors=doors,
        environment={
            "orchestrator": {"ORCHESTRATOR_PATIENCE": "0.02"},
            "cert-manager": {"CERT_MANAGER_PROBE_RETRY_FIRST_SECONDS": "0.2"},
            "graph-adapter": {f"GRAPH_ADAPTER_{name}": value for name, value in QUICK.items()},
            "pwsh-gateway": {f"PWSH_GATEWAY_{name}": value for name, value in QUICK.items()},
            **wrong,
        },
    )


def people(seed: int, count: int) -> list[dict[str, Any]]:
    """Of ten, seven get a number, two only a mailbox, and one is undone: nobody made the policy of that profile."""
    departments = ["Sales"] * 7 + ["Finance"] * 2 + ["Field Sales"]
    draw = random.Random(f"people-{seed}")
    return [_person(f"NW-{n:06d}", f"Given{n}", draw.choice(departments), manager=BOSS) for n in range(count)]


def sample(everybody: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """`count` of them, each department present in its share."""
    by_department: dict[str, list[dict[str, Any]]] = {}
    for each in everybody:
        by_department.setdefault(each["person"]["department"], []).append(each)
    share = count / len(everybody)
    return [each for group in by_department.values() for each in group[: max(1, round(len(group) * share))]]


def _person(employee_id: str, given: str, department: str, manager: str | None) -> dict[str, Any]:
    facts = {"given_name": given, "surname": "Chaos", "department": department, "city": "Zürich"}
    if manager:
        facts["manager_employee_id"] = manager
    return {"customer": CUSTOMER, "employee_id": employee_id, "sequence": 1, "person": facts}


class Office:
    """One stack's doors."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._urls = [stack.endpoints.url(name) for name in replica_names("orchestrator", stack.options.replicas)]
        self._turn = 0
        self._http = httpx.AsyncClient(timeout=15, trust_env=False)
        self._token, self._token_until = "", 0.0
        self._secret = Path(stack.endpoints.client_secret_file).read_text()
        self._admin = {"authorization": f"Bearer {Path(stack.endpoints.simulator_admin_token_file).read_text()}"}

    async def close(self) -> None:
        await self._http.aclose()

    async def prepare(self, count: int, *, unlimited: bool) -> None:
        """Seats and numbers for everybody, the customer registered, the manager there."""
        if unlimited:
            knobs = {"params": {"tenant": TENANT}, "json": {"throttling": False}}
            (await self._simulator("PATCH", "/_sim/config", **knobs)).raise_for_status()
        for sku in ("SPE_E5", "SPE_E3"):
            path = f"/_sim/tenants/{TENANT}/skus/{sku}"
            (await self._simulator("PATCH", path, json={"seats": count + 200})).raise_for_status()
        await self.api("PUT", f"/customers/{CUSTOMER}", json=_document())
        deadline = time.monotonic() + READY_SECONDS_MAX
        while True:
            state = await self.api("GET", f"/tenants/{TENANT}")
            if state["state"] == "ready" and state["observed_at"]:
                break
            if state["state"] == "failed" or time.monotonic() > deadline:
                raise RuntimeError(f"the tenant did not get ready: {state}")
            await asyncio.sleep(PAUSE_SECONDS)
        await self.send([_person(BOSS, "The", "Sales", manager=None)])
        while (await self.person(BOSS)).get("status") != "provisioned":
            if time.monotonic() > deadline:
                raise RuntimeError(f"the manager was not provisioned: {await self.person(BOSS)}")
            await asyncio.sleep(PAUSE_SECONDS)

    async def send(self, group: Sequence[Mapping[str, Any]]) -> None:
        """As HR does: the same events again until they are answered."""
        answer = await self.api(
            "POST", "/hr/events", json=[_event(data) for data in group], headers={"content-type": BATCH_TYPE}
        )
        refused = [result for result in answer["results"] if result["status"] not in ("accepted", "duplicate")]
        if refused:
            raise RuntimeError(f"events were not accepted: {refused}")

    async def under_way(self) -> list[tuple[str, str, str]]:
        """Plans that have not ended, each with its state and how far its operations are; of each state 500 at most."""
        found = []
        for state in UNDER_WAY:
            page = await self.api("GET", "/plans", params={"state": state, "limit": 500})
            found += [(plan["plan_id"], state, str(plan["operations"])) for plan in page["items"]]
        return found

    async def person(self, employee_id: str) -> dict[str, Any]:
        """{} for one the mesh does not know."""
        return dict(await self.api("GET", f"/people/{CUSTOMER}/{employee_id}", missing={}))

    async def pages(self, path: str, **query: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            page = await self.api(
                "GET", path, params={**query, "limit": 500, **({"after": after} if after is not None else {})}
            )
            found += page["items"]
            after = page["next"]
            if after is None:
                return found

    async def tenant(self, sections: str) -> dict[str, Any]:
        """The truth of the tenant."""
        path = f"/_sim/tenants/{TENANT}/state"
        answer = await self._simulator("GET", path, params={"section": sections, "limit": 0})
        return dict(answer.raise_for_status().json())

    async def api(self, method: str, path: str, missing: Any = None, **request: Any) -> Any:
        """From one replica after the other until one answers. RuntimeError for a refusal or READY_SECONDS_MAX."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        while True:
            self._turn += 1
            url = self._urls[self._turn % len(self._urls)] + path
            said = ""
            try:
                headers = {**request.get("headers", {}), "authorization": f"Bearer {await self._bearer()}"}
                answer = await self._http.request(method, url, **{**request, "headers": headers})
                if answer.is_success:
                    return answer.json() if answer.content else None
                if answer.status_code == httpx.codes.NOT_FOUND and missing is not None:
                    return missing
                said = f"{answer.status_code} {answer.text[:300]}"
                if answer.is_client_error and answer.status_code not in (401, 409, 429):
                    raise RuntimeError(f"{method} {path}: {said}")
            except httpx.HTTPError as error:
                said = repr(error)
            if time.monotonic() > deadline:
                raise RuntimeError(f"{method} {path} was not answered for {READY_SECONDS_MAX:.0f} s: {said}")
            await asyncio.sleep(PAUSE_SECONDS)

    async def _bearer(self) -> str:
        if time.monotonic() > self._token_until:
            endpoints = self._stack.endpoints
            form = {"grant_type": "client_credentials"}
            answer = await self._http.post(endpoints.token_url, data=form, auth=(endpoints.client_id, self._secret))
            body = answer.raise_for_status().json()
            self._token = str(body["access_token"])
            self._token_until = time.monotonic() + float(body["expires_in"]) / 2
        return self._token

    async def _simulator(self, method: str, path: str, **request: Any) -> httpx.Response:
        url = self._stack.endpoints.url("simulator-admin") + path
        return await self._http.request(method, url, headers=self._admin, **request)


def _document() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((EXAMPLES / "customers" / f"{CUSTOMER}.yaml").read_text("utf-8"))
    document["tenants"][0]["application"]["bootstrap_secret"] = {"value": SECRET}
    document["numbers"][0] |= {"first": "+41445500000", "last": "+41445519999"}
    return document


def _event(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"{data['employee_id']}-{data['sequence']}",
        "source": f"/hr/{CUSTOMER}",
        "type": "ucmesh.hr.person.v1.joined",
        "subject": data["employee_id"],
        "data": dict(data),
    }
