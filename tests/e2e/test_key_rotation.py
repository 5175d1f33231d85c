"""The key-encryption keys are rotated while the mesh works: a kill in the middle, and the former key taken away."""

import base64
import os
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from support.joiners import NORTHWIND, Office

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.timeout(600)]

SERVICES = ("cert-manager", "graph-adapter", "pwsh-gateway")
NOT_DONE = 3


@pytest.fixture
def key_files(office: Office) -> Iterator[dict[str, Path]]:
    """The services' key files; a mesh that others use too gets its former keys back if the test fails."""
    files = {name: office.mesh.stack.wiring.keys.kek_file(name) for name in SERVICES}
    former = {name: orjson.loads(file.read_bytes())["keys"] for name, file in files.items()}
    yield files
    for name, file in files.items():
        now = orjson.loads(file.read_bytes())
        write(file, now["active"], former[name] | now["keys"])


def write(file: Path, active: str, keys: dict[str, str]) -> None:
    """Whole or not at all, as a secret store does it."""
    part = file.with_suffix(".part")
    part.write_bytes(orjson.dumps({"active": active, "keys": keys}))
    part.replace(file)


def test_keys_are_rotated_under_traffic_and_the_former_one_is_taken_away(
    office: Office, key_files: dict[str, Path]
) -> None:
    before = office.person()
    office.send(before)
    for name, file in key_files.items():
        keys = orjson.loads(file.read_bytes())["keys"]
        write(file, "new", keys | {"new": base64.b64encode(os.urandom(32)).decode()})
        (former,) = keys
        check = office.mesh.command(name, "reseal", "--check")
        assert check.returncode == NOT_DONE, check.stderr
        assert f"still needed: {former}" in check.stdout

    killed = office.mesh.command("graph-adapter", "reseal", "--batch-size", "1", faults="db.after_commit@1=kill")
    assert killed.returncode == -9
    half = office.mesh.command("graph-adapter", "reseal", "--check")
    assert half.returncode == NOT_DONE
    assert "1 under key 'new'" in half.stdout
    for name in SERVICES:
        done = office.mesh.command(name, "reseal")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "every other key may be taken away" in done.stdout
    for file in key_files.values():
        keys = orjson.loads(file.read_bytes())["keys"]
        write(file, "new", {"new": keys["new"]})

    # What was signed in may go on with what it opened before: only a new start proves that everything opens.
    for name in SERVICES:
        office.mesh.restart(name)
    after = office.person()
    office.send(after)
    for data in (before, after):
        assert office.wait(data)["status"] == "provisioned"
    assert office.mesh.client("orchestrator").get(f"/tenants/{NORTHWIND}").json()["state"] == "ready"


def test_a_key_that_was_taken_away_too_early_is_named_and_comes_back(
    office: Office, key_files: dict[str, Path]
) -> None:
    file = key_files["graph-adapter"]
    keys = orjson.loads(file.read_bytes())
    write(file, "other", {"other": base64.b64encode(os.urandom(32)).decode()})
    for arguments in (["reseal", "--check"], ["reseal"]):
        answer = office.mesh.command("graph-adapter", *arguments)
        assert answer.returncode == NOT_DONE
        assert f"MISSING: the key file lacks {keys['active']}" in answer.stdout
    assert f"sealed under key {keys['active']!r}, which the key file does not hold" in answer.stdout
    office.mesh.restart("graph-adapter")
    data = office.person()
    office.send(data)
    office.until(lambda: bool(reasons(office)), "the failed sign-in")
    assert f"{keys['active']!r}" in reasons(office)[-1]
    plan_id = office.wait(data)["plan_id"]
    write(file, keys["active"], keys["keys"])
    # A refused sign-in is remembered for a minute, except by a new start.
    office.mesh.restart("graph-adapter")
    office.api.post(f"/plans/{plan_id}/retry").raise_for_status()
    office.until(lambda: office.wait(data)["status"] == "provisioned", "the retried plan")


def reasons(office: Office) -> list[str]:
    log = office.mesh.stack.places.logs / "graph-adapter.log"
    return [line for line in log.read_text().splitlines() if "sign-in.failed" in line and "sealed under" in line]
