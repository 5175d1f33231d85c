"""The command against a made-up service: what it asks for, what it prints, and how it fails."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from ucmesh_cli.api import Api
from ucmesh_cli.errors import CliError
from ucmesh_cli.main import app
from ucmesh_cli.profile import Profile, load_profile

PROFILE = Profile(
    {
        name: f"http://{name}.test"
        for name in ("orchestrator", "graph-adapter", "pwsh-gateway", "cert-manager", "traces")
    },
    token="t",
)
Answer = Callable[[httpx.Request], httpx.Response]


def run(answer: Answer, *arguments: str):
    client = Api(PROFILE, transport=httpx.MockTransport(answer))
    return CliRunner().invoke(app, list(arguments), obj=client)


def answers(body: object, status: int = 200) -> Answer:
    return lambda _request: httpx.Response(status, json=body)


PLAN = {
    "plan_id": "019ab3c2-7d10-7a40-8a55-0d5f6a7b8c90",
    "customer": "northwind",
    "employee_id": "NW-1018",
    "kind": "joiner",
    "state": "compensated",
    "reason": {"code": "policy-unknown", "message": "Policy Field-Only-Mobile is unknown.", "remedy": "Create it."},
    "undoing_because": None,
    "operations": {"total": 9, "succeeded": 5, "failed": 1},
    "tries": 1,
    "effects": {"upn": "reto.bianchi@northwind.example"},
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
}


def test_lists_follow_pages_to_the_limit() -> None:
    seen = []

    def pages(request: httpx.Request) -> httpx.Response:
        seen.append(dict(request.url.params))
        following = None if "after" in request.url.params else "more"
        return httpx.Response(200, json={"items": [PLAN], "next": following})

    done = run(pages, "plan", "list", "--state", "compensated", "--json")
    assert done.exit_code == 0
    assert len(json.loads(done.stdout)) == 2
    assert seen == [{"limit": "50", "state": "compensated"}, {"limit": "49", "state": "compensated", "after": "more"}]


def test_a_plan_is_shown_with_its_reason_and_remedy() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=[] if request.url.path.endswith("operations") else PLAN)

    done = run(answer, "plan", "show", PLAN["plan_id"])
    assert "Policy Field-Only-Mobile is unknown." in done.stdout
    assert "Create it." in done.stdout


def test_watching_a_plan_that_does_not_succeed_ends_with_three() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=[] if request.url.path.endswith("operations") else PLAN)

    assert run(answer, "plan", "watch", PLAN["plan_id"]).exit_code == 3


def test_a_problem_document_becomes_message_and_next_step() -> None:
    problem = {"title": "Conflict", "detail": "It is under way.", "remedy": "Wait for its end."}
    done = run(answers(problem, 409), "plan", "retry", PLAN["plan_id"])
    assert isinstance(done.exception, CliError)
    assert "It is under way." in done.exception.message
    assert done.exception.next_step == "Wait for its end."


def test_an_answer_that_is_no_problem_document_is_reported_by_its_status() -> None:
    done = run(lambda _request: httpx.Response(502, text="<html>"), "person", "show", "northwind", "NW-1")
    assert "Bad Gateway" in str(done.exception)


def test_hr_send_numbers_rows_over_all_batches(tmp_path: Path) -> None:
    file = tmp_path / "feed.csv"
    file.write_text("employee_id,given_name,surname\n" + "".join(f"E{n},A,B\n" for n in range(5)), "utf-8")
    sizes = []

    def intake(request: httpx.Request) -> httpx.Response:
        events = json.loads(request.content)
        sizes.append(len(events))
        results = [{"index": n, "id": e["id"], "status": "accepted", "reason": None} for n, e in enumerate(events)]
        return httpx.Response(202, json={"results": results})

    done = run(intake, "hr", "send", str(file), "--customer", "x", "--batch-size", "2", "--json")
    assert sizes == [2, 2, 1]
    body = json.loads(done.stdout)
    assert [result["index"] for result in body["results"]] == [0, 1, 2, 3, 4]
    assert body["counts"] == {"accepted": 5}


def test_hr_send_reads_standard_input_and_shows_what_was_kept_aside() -> None:
    result = {"index": 0, "id": "1", "status": "dead-lettered", "reason": "surname is missing", "dead_letter_id": "d1"}
    client = Api(PROFILE, transport=httpx.MockTransport(answers({"results": [result]}, 202)))
    done = CliRunner().invoke(
        app, ["hr", "send", "-", "--customer", "x"], obj=client, input="employee_id,given_name,surname\nE1,A,\n"
    )
    assert "surname is missing" in done.stdout


def test_a_secret_comes_from_the_environment_and_never_from_the_file(tmp_path: Path, monkeypatch) -> None:
    file = tmp_path / "customer.yaml"
    file.write_text(
        "customer: x\ntenants: [{tenant_id: t, application: {bootstrap_secret: {env: X_SECRET}}}]\n", "utf-8"
    )
    bodies = []

    def put(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(200, json={"changes": [], "version": 1, "tenants": []})

    assert "X_SECRET is not set" in str(run(put, "customer", "apply", "-f", str(file)).exception)
    monkeypatch.setenv("X_SECRET", "hush")
    assert run(put, "customer", "apply", "-f", str(file)).exit_code == 0
    assert bodies[0]["tenants"][0]["application"]["bootstrap_secret"] == {"value": "hush"}
    file.write_text(file.read_text().replace("{env: X_SECRET}", "{value: plain}"))
    assert "plain text" in str(run(put, "customer", "apply", "-f", str(file)).exception)


def test_a_dead_letter_is_looked_for_in_every_service() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        if request.url.host != "pwsh-gateway.test":
            return httpx.Response(404, json={"detail": "no such dead letter"})
        return httpx.Response(200, json={"id": "d1", "state": "replayed"})

    done = run(answer, "dlq", "replay", "d1", "--json")
    assert done.exit_code == 0
    assert asked[-1] == "pwsh-gateway.test"


def test_an_unreachable_service_says_how_to_start_one() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    done = run(refuse, "plan", "list")
    assert isinstance(done.exception, CliError)
    assert "./dev up" in str(done.exception.next_step)


@pytest.mark.parametrize(
    ("shell", "asked"),
    [
        ("bash", {"COMP_WORDS": "ucmesh pl", "COMP_CWORD": "1"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "ucmesh pl"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "ucmesh pl", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_the_shell_completes_a_command(shell: str, asked: dict[str, str]) -> None:
    program = Path(sys.executable).with_name("ucmesh")
    environment = {"PATH": os.environ["PATH"], "_UCMESH_COMPLETE": f"complete_{shell}", **asked}
    done = subprocess.run([program], env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert "plan" in done.stdout
    assert "person" not in done.stdout


class TestProfile:
    def test_environment_beats_the_file(self, tmp_path: Path) -> None:
        file = tmp_path / "cli.json"
        file.write_text(json.dumps({"orchestrator_url": "http://a", "cert_manager_url": "http://c"}))
        found = load_profile({"UCMESH_PROFILE": str(file), "UCMESH_ORCHESTRATOR_URL": "http://b/"})
        assert found.url("orchestrator") == "http://b"
        assert found.url("cert-manager") == "http://c"

    def test_a_named_file_that_is_missing_or_broken_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(CliError, match="cannot be read"):
            load_profile({"UCMESH_PROFILE": str(tmp_path / "none.json")})
        broken = tmp_path / "broken.json"
        broken.write_text("{")
        with pytest.raises(CliError, match="not JSON"):
            load_profile({"UCMESH_PROFILE": str(broken)})

    def test_the_nearest_profile_above_the_working_folder_is_used(self, tmp_path: Path, monkeypatch) -> None:
        (tmp_path / ".ucmesh").mkdir()
        (tmp_path / ".ucmesh" / "cli.json").write_text(json.dumps({"traces_url": "http://t"}))
        (tmp_path / "a" / "b").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / "a" / "b")
        assert load_profile({}).url("traces") == "http://t"

    def test_an_unknown_address_names_the_variable(self) -> None:
        with pytest.raises(CliError) as caught:
            Profile({}).url("pwsh-gateway")
        assert "UCMESH_PWSH_GATEWAY_URL" in str(caught.value.next_step)
