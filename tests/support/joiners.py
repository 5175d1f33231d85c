"""A mesh with the example customers, and what a test does with it: send people, wait for them, look at the tenant."""

import itertools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from support.mesh import Mesh
from ucmesh_embedded.demo import tenants
from ucmesh_embedded.topology import Options

EXAMPLES = Path(__file__).parents[2] / "examples"
NORTHWIND = "8d2f6c1e-3b7a-4c55-9f1e-2a6d0c4b7e11"
SECRETS = {"northwind": "northwind-first-secret", "fabrikam": "fabrikam-first-secret"}
OVER = {"provisioned", "refused", "compensated", "scheduled", "held", "cancelled"}
WAIT_SECONDS_MAX = 180.0

_numbers = itertools.count(5000)


def options(**more: Any) -> Options:
    """The example tenants, answering at once, on PostgreSQL without fsync."""
    return Options(
        durable=False,
        keep_tenants=False,
        seed_file=EXAMPLES / "tenants.yaml",
        environment={
            "orchestrator": {"ORCHESTRATOR_PATIENCE": "0.02"},
            "cert-manager": {"CERT_MANAGER_PROBE_RETRY_FIRST_SECONDS": "0.2"},
        },
        **more,
    )


class Office:
    """The doors of a running mesh, as an HR system, an admin and an auditor use them."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.api = mesh.client("orchestrator")
        self.simulator = mesh.client("simulator-admin")

    def document(self, customer: str) -> dict[str, Any]:
        """The example configuration with its secret put in."""
        document: dict[str, Any] = yaml.safe_load((EXAMPLES / "customers" / f"{customer}.yaml").read_text("utf-8"))
        for tenant in document["tenants"]:
            tenant["application"]["bootstrap_secret"] = {"value": SECRETS[customer]}
        return document

    def register(self, customer: str) -> None:
        """Apply and wait until the tenant is ready."""
        document = self.document(customer)
        self.api.put(f"/customers/{customer}", json=document).raise_for_status()
        tenant_id = document["tenants"][0]["tenant_id"]

        def ready() -> bool:
            state = self.api.get(f"/tenants/{tenant_id}").raise_for_status().json()
            assert state["state"] != "failed", state["reason"]
            return state["state"] == "ready" and state["observed_at"] is not None

        self.until(ready, f"{customer} to be ready")

    def make_room(self, seats: int) -> None:
        """So many seats, and ten thousand numbers, for Northwind."""
        for sku in ("SPE_E5", "SPE_E3"):
            path = f"/_sim/tenants/{NORTHWIND}/skus/{sku}"
            self.simulator.patch(path, json={"seats": seats}).raise_for_status()
        document = self.document("northwind")
        document["numbers"][0]["last"] = "+41445559999"
        self.api.put("/customers/northwind", json=document).raise_for_status()

    def person(self, **changes: Any) -> dict[str, Any]:
        """Event data of somebody new who is wanted in Zürich with a number."""
        number = next(_numbers)
        facts = {"given_name": f"Test{number}", "surname": "Person", "department": "Sales", "city": "Zürich"}
        data = {"customer": "northwind", "employee_id": f"NW-{number}", "sequence": 1}
        data |= {name: changes.pop(name) for name in ("employee_id", "sequence", "customer") if name in changes}
        return {**data, "person": {**facts, **changes}}

    def send(self, *people: Mapping[str, Any], event_ids: list[str] | None = None) -> list[dict[str, Any]]:
        """One batch over HTTP; the results."""
        ids = event_ids or [f"{data['employee_id']}-{data['sequence']}-{time.monotonic_ns()}" for data in people]
        events = [cloudevent(data, event_id) for data, event_id in zip(people, ids, strict=True)]
        answer = self.api.post(
            "/hr/events", json=events, headers={"content-type": "application/cloudevents-batch+json"}
        )
        assert answer.status_code == 202, answer.text
        results: list[dict[str, Any]] = answer.json()["results"]
        return results

    def send_until_taken(self, data: Mapping[str, Any]) -> None:
        """As an HR system does: the same event again until it is answered, whatever dies meanwhile."""
        event_id = f"{data['employee_id']}-{data['sequence']}-once"

        def taken() -> bool:
            try:
                return bool(self.send(data, event_ids=[event_id]))
            except (httpx.HTTPError, AssertionError):
                return False

        self.until(taken, "the intake to answer")

    def wait(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The person once their plan is over."""
        path = f"/people/{data['customer']}/{data['employee_id']}"
        found: dict[str, Any] = {}

        def over() -> bool:
            try:
                answer = self.api.get(path)
            except httpx.HTTPError:
                return False
            found.update(answer.json() if answer.status_code == httpx.codes.OK else {"status": "unknown"})
            return found["status"] in OVER

        self.until(over, f"{data['employee_id']} to be over", lambda: str(found.get("status")))
        return found

    def operations(self, plan_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api.get(f"/plans/{plan_id}/operations").raise_for_status().json()
        return found

    def tenant(self, section: str, tenant_id: str = NORTHWIND) -> Any:
        """The truth of the tenant."""
        answer = self.simulator.get(f"/_sim/tenants/{tenant_id}/state", params={"section": section, "limit": 100_000})
        return answer.raise_for_status().json()[section]

    def writes(self) -> int:
        """What was changed in the tenant so far, by anybody; reads go on in the background."""
        return tenants.writes(self.tenant("requests")["counts"])

    def users(self, data: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Users of Entra ID with this employee id."""
        return [user for user in self.tenant("users") if user.get("employeeId") == data["employee_id"]]

    def proof(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """What the tenant holds of one person, without ids, times and names: equal for people treated alike."""
        (user,) = self.users(data)
        (teams,) = [each for each in self.tenant("teams_users") if each["user_id"] == user["id"]]
        (mailbox,) = [each for each in self.tenant("mailboxes") if each["user_id"] == user["id"]]
        numbers = [n["number"] for n in self.tenant("numbers") if n["holder"] == user["id"]]
        return {
            "groups": sorted(user["groups"]),
            "licences": sorted(user["licences"]),
            "enabled": user["accountEnabled"],
            "numbers": len(numbers),
            "voice": teams["enterprise_voice"],
            "policies": teams["policies"],
            "mailbox": {name: value for name, value in mailbox["settings"].items() if name != "EmailAddresses"},
            "cas": mailbox["cas"],
        }

    @staticmethod
    def until(done: Callable[[], bool], what: str, detail: Callable[[], str] = lambda: "") -> None:
        """Poll a condition up to a deadline."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while not done():
            assert time.monotonic() < deadline, f"waited {WAIT_SECONDS_MAX} s for {what} {detail()}"
            time.sleep(0.1)


def cloudevent(data: Mapping[str, Any], event_id: str, action: str = "joined") -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": f"/hr/{data.get('customer')}",
        "type": f"ucmesh.hr.person.v1.{action}",
        "subject": str(data.get("employee_id")),
        "data": dict(data),
    }
