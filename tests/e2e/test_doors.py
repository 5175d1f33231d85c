"""Every door: nobody passes without a token, bad input is refused with what to change, lists page by key."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from mesh_runtime.paging import encode_cursor
from support.joiners import NORTHWIND, Office, cloudevent

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.timeout(300)]
SERVICES = ("orchestrator", "graph-adapter", "pwsh-gateway", "cert-manager")
UNKNOWN = "00000000-0000-0000-0000-000000000000"
SINGLE = {"content-type": "application/cloudevents+json"}


def paths(office: Office, service: str) -> list[tuple[str, str]]:
    document = office.mesh.client(service).get("/openapi.json").raise_for_status().json()
    return [
        (method.upper(), path.replace("{", "").replace("}", ""))
        for path, operations in document["paths"].items()
        for method in operations
    ]


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_but_health_is_open(office: Office, service: str) -> None:
    with httpx.Client(base_url=office.mesh.endpoints.url(service), trust_env=False) as nobody:
        for method, path in [*paths(office, service), ("GET", "/metrics"), ("GET", "/openapi.json"), ("GET", "/docs")]:
            answer = nobody.request(method, path)
            expected = 200 if path.startswith("/health") else 401
            assert answer.status_code == expected, f"{method} {path}"


@pytest.mark.parametrize("service", SERVICES)
def test_a_token_that_may_only_read_cannot_write(office: Office, service: str) -> None:
    headers = {"authorization": f"Bearer {office.mesh.token('mesh.read')}"}
    with httpx.Client(base_url=office.mesh.endpoints.url(service), headers=headers, trust_env=False) as reader:
        for method, path in paths(office, service):
            if method in ("PUT", "PATCH", "DELETE") or path.endswith(("/retry", "/cancel", "/replay", "/discard")):
                answer = reader.request(method, path.replace("plan_id", UNKNOWN), json={})
                assert answer.status_code in (403, 422), f"{method} {path}: {answer.status_code}"


@pytest.mark.parametrize("service", SERVICES)
def test_metrics_and_the_api_document_are_there_for_those_who_may(office: Office, service: str) -> None:
    client = office.mesh.client(service)
    assert "ucmesh_" in client.get("/metrics").raise_for_status().text
    document = client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation.get("summary"), f"{service} {method} {path} has no summary"


BAD = {
    "no JSON": ("/hr/events", b"{", SINGLE),
    "no CloudEvent": ("/hr/events", b'{"a": 1}', SINGLE),
    "an unknown content type": ("/hr/events", b"a,b", {"content-type": "text/csv"}),
    "a batch that is no list": ("/hr/events", b"{}", {"content-type": "application/cloudevents-batch+json"}),
    "a preview without an event": ("/plans/preview", b'{"customer": "northwind"}', {}),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_a_problem_document(office: Office, name: str) -> None:
    path, body, headers = BAD[name]
    answer = office.api.post(path, content=body, headers={"content-type": "application/json", **headers})
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["title"]
    assert problem["detail"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"customer": "nobody"}, "nobody"),
        ({"employee_id": ""}, "employee_id"),
        ({"sequence": -1}, "sequence"),
        ({"person": {"given_name": "A"}}, "surname"),
        ({"effective_date": "soon"}, "effective_date"),
    ],
)
def test_a_single_event_that_is_wrong_is_refused_and_says_where(office: Office, change: dict, says: str) -> None:
    event = cloudevent({**office.person(), **change}, "bad")
    answer = office.api.post("/hr/events", json=event, headers=SINGLE)
    assert answer.status_code in (404, 422), answer.text
    assert says in answer.text


@pytest.mark.parametrize(
    ("where", "value", "says"),
    [
        (("sites", 0, "time_zone"), "Mars/Olympus", "time_zone"),
        (("sites", 0, "move"), "no-such-filter", "no-such-filter"),
        (("filters", 0, "rows", 0), {"attribute": "city", "condition": "regex", "value": "(?=x)"}, "rows"),
        (("numbers", 0, "first"), "12345", "numbers/0"),
        (("profiles", 0, "upn"), "{nothing}", "upn"),
        (("flow_through", 0, "profile"), "no-such-profile", "no-such-profile"),
    ],
)
def test_a_configuration_that_is_wrong_names_the_place(office: Office, where: tuple, value: object, says: str) -> None:
    document = office.document("northwind")
    target = document
    for step in where[:-1]:
        target = target[step]
    target[where[-1]] = value
    answer = office.api.put("/customers/northwind", json=document)
    assert answer.status_code == 422, answer.text
    assert says in answer.text
    assert "northwind-first-secret" not in answer.text


def test_lists_page_by_key(office: Office) -> None:
    office.send(office.person(city="Nowhere"), office.person(city="Nowhere"), office.person(city="Nowhere"))
    seen: list[str] = []
    after = None
    while True:
        page = office.api.get("/plans", params={"limit": 2, **({"after": after} if after else {})}).json()
        seen += [plan["plan_id"] for plan in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert len(seen) == len(set(seen)) >= 3


@pytest.mark.parametrize("after", ["garbage", encode_cursor("a", 1, "b")])
@pytest.mark.parametrize(
    ("service", "path"),
    [
        ("orchestrator", "/plans"),
        ("orchestrator", "/people"),
        ("orchestrator", "/customers"),
        ("cert-manager", "/certificates"),
        ("graph-adapter", "/operations"),
        ("pwsh-gateway", "/sessions"),
        ("pwsh-gateway", "/executions"),
        ("orchestrator", "/dead-letters"),
    ],
)
def test_a_cursor_that_is_not_of_this_list_is_refused(office: Office, service: str, path: str, after: str) -> None:
    answer = office.mesh.client(service).get(path, params={"after": after})
    assert answer.status_code == 422, answer.text


def test_the_public_part_of_a_certificate_can_be_downloaded_and_nothing_else(office: Office) -> None:
    certs = office.mesh.client("cert-manager")
    listed = certs.get("/certificates", params={"tenant_id": NORTHWIND}).raise_for_status().json()["items"]
    by_kind = {each["kind"]: each for each in listed}
    certificate, secret = by_kind["certificate"], by_kind["client_secret"]
    assert (certificate["state"], certificate["waiting_for"]) == ("active", [])
    pem = certs.get(f"/certificates/{certificate['credential_id']}/public").raise_for_status().content
    found = x509.load_pem_x509_certificate(pem)
    assert found.fingerprint(hashes.SHA1()).hex().upper() == certificate["thumbprint"]
    assert b"PRIVATE" not in pem
    assert secret["not_after"] is None
    assert certs.get(f"/certificates/{secret['credential_id']}/public").status_code == 404
    assert certs.get(f"/certificates/{UNKNOWN}").status_code == 404


def test_no_secret_is_in_any_log(office: Office) -> None:
    logs = Path(office.mesh.stack.places.logs)
    text = "".join(file.read_text("utf-8", errors="replace") for file in logs.glob("*.log"))
    assert "northwind-first-secret" not in text
    assert "PRIVATE KEY" not in text


@pytest.mark.parametrize(
    "words",
    [
        ["customer", "list"],
        ["customer", "numbers", "northwind"],
        ["customer", "seats", "northwind"],
        ["tenant", "test", "northwind", NORTHWIND],
        ["person", "list"],
        ["plan", "list"],
        ["dlq", "list", "--state", "all"],
        ["sessions", "list"],
        ["certs", "list"],
    ],
    ids=" ".join,
)
def test_the_command_works_for_people_and_for_programs(office: Office, words: list[str]) -> None:
    assert run(office, *words).returncode == 0
    done = run(office, *words, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()[0] in "[{"


def test_the_command_says_what_to_do_next(office: Office) -> None:
    done = run(office, "plan", "show", UNKNOWN)
    assert done.returncode == 1
    assert "Error:" in done.stderr


def run(office: Office, *words: str) -> subprocess.CompletedProcess[str]:
    profile = str(office.mesh.stack.places.home / "cli.json")
    return subprocess.run(
        [sys.executable, "-m", "ucmesh_cli", *words],
        env={"UCMESH_PROFILE": profile, "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
