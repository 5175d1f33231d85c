"""`./dev demo`: start everything, register the customers, send their feeds, wait, check, and show.

Owns: the order of the story and its exit code. Everything goes through public doors: the services' APIs with the client
of the `ucmesh` command, and the simulator's admin API to look at the tenants themselves.
"""

import asyncio
import os
import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console, RenderableType

from ucmesh_cli.api import Api
from ucmesh_cli.commands.customer import resolve_secrets
from ucmesh_cli.commands.hr import send_all
from ucmesh_cli.hr_file import read_events
from ucmesh_cli.profile import PROFILE_VARIABLE, load_profile
from ucmesh_embedded.demo import show, tenants
from ucmesh_embedded.demo.expectations import Expectations
from ucmesh_embedded.endpoints import CLI_FILE, Endpoints
from ucmesh_embedded.errors import StackError
from ucmesh_embedded.places import Places
from ucmesh_embedded.stack import Stack
from ucmesh_embedded.topology import Options

EXAMPLES = Path(__file__).resolve().parents[4] / "examples"
FEEDS = {"northwind": "northwind.csv", "fabrikam": "fabrikam.jsonl"}
FIRST_SECRETS = {
    "NORTHWIND_BOOTSTRAP_SECRET": "northwind-first-secret",
    "FABRIKAM_BOOTSTRAP_SECRET": "fabrikam-first-secret",
}
PATIENCE = "0.02"
"""The simulated tenants answer in seconds what takes Microsoft minutes; plans wait accordingly."""
READY_SECONDS_MAX = 90.0
DONE_SECONDS_MAX = 180.0
POLL_SECONDS = 0.3
OVER = {"provisioned", "refused", "compensated", "scheduled", "held", "cancelled"}

Person = Mapping[str, Any]


def main(argv: Sequence[str]) -> int:
    """0 when everybody ended as expected and the tenants confirm it."""
    arguments = ArgumentParser(prog="./dev demo")
    arguments.add_argument("--pictures", type=Path, help="also save what is shown as SVG files in this folder")
    given = arguments.parse_args(list(argv))
    console = Console(width=show.PICTURE_WIDTH if not os.isatty(1) else None)
    story = Story(Places.from_environment(), console, given.pictures)
    return asyncio.run(story.tell())


class Story:
    """One demo from start to summary."""

    def __init__(self, places: Places, console: Console, pictures: Path | None = None) -> None:
        self._places, self._console, self._pictures = places, console, pictures
        self._api: Api | None = None
        self._over = threading.Event()

    async def tell(self) -> int:
        """Start, feed, check, show; everything is ended again whatever happens."""
        started = time.monotonic()
        options = Options(
            seed_file=EXAMPLES / "tenants.yaml",
            environment={"orchestrator": {"ORCHESTRATOR_PATIENCE": PATIENCE}},
        )
        stack = Stack(self._places.home, options)
        with self._step("PostgreSQL, Apache Kafka, a simulated Microsoft 365 and four services"):
            endpoints = await stack.start()
        try:
            is_real = endpoints.pwsh != "simulated"
            host = "real PowerShell" if is_real else "the simulated PowerShell host, for there is no pwsh on PATH"
            self._console.print(f"  cmdlets run in {host}", style="dim")
            scenes = asyncio.create_task(asyncio.to_thread(self._scenes, endpoints, started))
            failing = asyncio.create_task(stack.wait())
            await asyncio.wait([scenes, failing], return_when=asyncio.FIRST_COMPLETED)
            if not scenes.done():
                self._over.set()
                await asyncio.gather(scenes, return_exceptions=True)
                failing.result()
            failing.cancel()
            return await scenes
        finally:
            self._over.set()
            await stack.stop()

    def _scenes(self, endpoints: Endpoints, started: float) -> int:
        os.environ[PROFILE_VARIABLE] = str(self._places.home / CLI_FILE)
        self._api = Api(load_profile())
        tenant_ids = self._register()
        before = self._tenants(endpoints, tenant_ids)
        letters = self._send()
        people = self._wait()
        after = self._tenants(endpoints, tenant_ids)
        seconds = time.monotonic() - started
        return self._verdict(people, letters, before, after, seconds)

    def _register(self) -> list[str]:
        ids: list[str] = []
        with self._step("two customers; certificates made, registered and tried on Graph, Exchange and Teams"):
            # Starting PowerShell is what costs most here: one session a tenant and module is what two cores can carry.
            sessions = max(1, (os.cpu_count() or 2) // 2)
            self.api.patch("pwsh-gateway", "/config", {"concurrency.per_stream_max": sessions})
            for name in FEEDS:
                file = EXAMPLES / "customers" / f"{name}.yaml"
                document = resolve_secrets(yaml.safe_load(file.read_text("utf-8")), file.parent, FIRST_SECRETS)
                applied = self.api.put("orchestrator", f"/customers/{name}", document)
                ids += [tenant["tenant_id"] for tenant in applied["tenants"]]
            self._until(READY_SECONDS_MAX, lambda: self._ready(ids), "the tenants' certificates to become active")
        return ids

    def _ready(self, tenant_ids: Sequence[str]) -> bool:
        states = [self.api.get("orchestrator", f"/tenants/{tenant_id}") for tenant_id in tenant_ids]
        failed = [each for each in states if each["state"] == "failed"]
        if failed:
            raise StackError(
                f"Tenant {failed[0]['name']} failed: {failed[0]['reason']}", remedy="See the log of cert-manager."
            )
        return all(each["state"] == "ready" and each["observed_at"] for each in states)

    def _send(self) -> dict[str, str]:
        """Dead letters by employee id."""
        letters: dict[str, str] = {}
        counts: dict[str, int] = {}
        with self._step("HR sends its files"):
            for name, file in FEEDS.items():
                events = list(read_events((EXAMPLES / "hr" / file).read_text("utf-8"), name))
                for result in send_all(self.api, events, batch_size=500):
                    counts[result["status"]] = counts.get(result["status"], 0) + 1
                    if result["status"] == "dead-lettered":
                        letters[events[result["index"]]["subject"]] = result["reason"]
        self._console.print("  " + ", ".join(f"{count} {status}" for status, count in counts.items()), style="dim")
        return letters

    def _wait(self) -> list[Person]:
        people: list[Person] = []

        def all_over() -> bool:
            people[:] = self.api.pages("orchestrator", "/people", most=10_000)
            return bool(people) and all(person["status"] in OVER for person in people)

        with self._step("everybody's plan is carried out, proven by reading back, or undone"):
            self._until(DONE_SECONDS_MAX, all_over, "every plan to end", lambda: _unfinished(people))
        return people

    def _verdict(
        self,
        people: Sequence[Person],
        letters: Mapping[str, str],
        before: Mapping[str, tenants.TenantState],
        after: Mapping[str, tenants.TenantState],
        seconds: float,
    ) -> int:
        plans = {plan["plan_id"]: plan for plan in self.api.pages("orchestrator", "/plans", most=10_000)}
        shown: dict[str, RenderableType] = {"summary": show.summary(people, letters, plans, after)}
        undone = next((person for person in people if person["status"] == "compensated"), None)
        if undone is not None:
            shown["plan"] = show.plan(self.api, undone["plan_id"])
        done = show.best_traced(people, plans)
        if done is not None:
            shown["trace"] = show.trace(self.api, done)
        for name, picture in shown.items():
            self._console.print(picture)
            if self._pictures is not None:
                show.save(picture, self._pictures / f"{name}.svg", title=f"./dev demo: {name}")
        outcomes = {person["employee_id"]: _outcome(person) for person in people} | dict.fromkeys(
            letters, "dead-lettered"
        )
        complaints = Expectations.read(EXAMPLES / "hr" / "expected.yaml").complaints(outcomes)
        for person in people:
            state = after.get(str(person["tenant_id"]))
            if state is not None:
                complaints += [*state.objections(person), *state.left_behind(person)]
        writes = sum(after[each].writes - before[each].writes for each in after)
        self._console.print(
            f"[bold]{len(outcomes)} people[/bold] in {seconds:.1f} s from start; "
            f"the tenants took {writes} writes in this run. [dim]Send the same files again and it is 0.[/dim]"
        )
        if letters:
            self._console.print(
                "The dead letter can be mended: `./dev up`, then `./dev ucmesh dlq list` and "
                "`./dev ucmesh dlq replay ID --data examples/hr/corrected/NW-1017.json`."
            )
        for complaint in complaints:
            self._console.print(f"[red]not as expected:[/red] {complaint}")
        if not complaints:
            self._console.print("[green]Everybody ended as expected, and the tenants confirm it.[/green]")
        return 1 if complaints else 0

    @property
    def api(self) -> Api:
        """The command's client; made once the stack has written its profile."""
        if self._api is None:
            raise StackError("The mesh was not started.")
        return self._api

    def _tenants(self, endpoints: Endpoints, ids: Sequence[str]) -> dict[str, tenants.TenantState]:
        token = Path(endpoints.simulator_admin_token_file).read_text("utf-8").strip()
        return tenants.read(endpoints.url("simulator-admin"), token, ids)

    @contextmanager
    def _step(self, what: str) -> Iterator[None]:
        begun = time.monotonic()
        with self._console.status(what):
            yield
        self._console.print(f"[green]done[/green] {what} [dim]{time.monotonic() - begun:.1f} s[/dim]")

    def _until(
        self, seconds_max: float, done: Callable[[], bool], what: str, detail: Callable[[], str] = lambda: ""
    ) -> None:
        deadline = time.monotonic() + seconds_max
        while not done():
            if time.monotonic() > deadline:
                raise StackError(
                    f"Waited {seconds_max:.0f} s for {what}. {detail()}",
                    remedy=f"Look into the logs in {self._places.logs}.",
                )
            if self._over.wait(POLL_SECONDS):
                raise StackError("The mesh has ended.")


def _outcome(person: Person) -> str:
    reason = person["reason"]
    if person["status"] in ("refused", "compensated") and reason:
        return f"{person['status']} {reason['code']}"
    return str(person["status"])


def _unfinished(people: Sequence[Person]) -> str:
    left = [f"{person['employee_id']} {person['status']}" for person in people if person["status"] not in OVER]
    return f"Unfinished: {', '.join(left)}."
