"""The state file: what was saved comes back, and what cannot be read is said and passed over."""

import asyncio
import contextlib
import os
import pickle
import signal
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ucmesh_simulator import persistence
from ucmesh_simulator.__main__ import _serve
from ucmesh_simulator.admin.http import install
from ucmesh_simulator.requests_log import LoggedRequest
from ucmesh_simulator.seed import SeedFile
from ucmesh_simulator.world import World

TENANT = "5f0c2a64-3d0b-4c55-9d6c-0f4a6f3f6a01"
PASSWORD = "xWwvJ]6NMw+bWH-d"


def certificate() -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def seeded() -> World:
    world = World(seed="7")
    seed = {
        "tenants": [
            {
                "tenant_id": TENANT,
                "display_name": "N",
                "initial_domain": "n.onmicrosoft.com",
                "domains": ["n.example"],
                "skus": [{"part_number": "SPE_E5", "seats": 3}],
                "users": [
                    {
                        "properties": {"userPrincipalName": "a@n.example", "displayName": "A", "usageLocation": "CH"},
                        "licences": ["SPE_E5"],
                    }
                ],
                "applications": [
                    {
                        "client_id": "8d1c2f0e-9c7a-4c7e-8a38-0a2a6f3f6a02",
                        "object_id": "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed",
                        "certificates": [{"certificate": certificate().decode()}],
                    }
                ],
            }
        ]
    }
    install(world, SeedFile.model_validate(seed))
    return world


def logged() -> LoggedRequest:
    return LoggedRequest(
        at=0.0, face="graph", method="POST", path="/users", status=201, code=None, client_id=None, request_id="r",
        client_request_id=None, body={"password": PASSWORD},
    )  # fmt: skip


def test_a_saved_world_comes_back_with_its_people_certificates_and_chance(tmp_path: Path) -> None:
    world, file = seeded(), tmp_path / "state"
    token = world.signer.sign({"aud": "x"})
    world.tenants[TENANT].requests.add(logged())
    persistence.save(world, file)
    again = persistence.load(file)
    assert again is not None
    before, after = world.tenants[TENANT], again.tenants[TENANT]
    user = after.find_user("a@n.example")
    assert user is not None
    assert list(user.licences) == list(before.find_user("a@n.example").licences)  # type: ignore[union-attr]
    (app,) = after.applications.values()
    (former,) = before.applications.values()
    assert [key.certificate for key in app.keys] == [key.certificate for key in former.keys]
    assert before.new_id() == after.new_id()
    assert again.signer.read(token, {}) is None, "a former process's token is not accepted"
    assert after.requests.counts == before.requests.counts
    assert file.stat().st_mode & 0o077 == 0


def test_the_file_holds_no_signing_key_and_no_password(tmp_path: Path) -> None:
    world, file = seeded(), tmp_path / "state"
    world.tenants[TENANT].requests.add(logged())

    persistence.save(world, file)

    content = file.read_bytes()
    assert b"a@n.example" in content
    assert b"joserfc" not in content
    assert PASSWORD.encode() not in content


class Rounds(asyncio.Event):
    """A stop that lets one round pass at once for each of its steps and is set after the last."""

    def __init__(self, *steps: Callable[[], None]) -> None:
        super().__init__()
        self.steps = iter(steps)

    async def wait(self) -> bool:  # type: ignore[override]
        step = next(self.steps, None)
        if step is None:
            self.set()
            return True
        step()
        raise TimeoutError


async def test_a_running_world_is_saved_after_writes(tmp_path: Path) -> None:
    world, file = seeded(), tmp_path / "state"
    saved: list[bool] = []

    def look(writes: int) -> None:
        saved.append(file.exists())
        file.unlink(missing_ok=True)
        world.writes += writes

    await persistence.keep_saved(world, file, Rounds(lambda: look(0), lambda: look(2), lambda: look(0)))

    assert saved == [True, False, True]


async def test_what_is_written_while_the_doors_close_is_saved_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, file = seeded(), tmp_path / "state"

    @contextlib.asynccontextmanager
    async def running(*_: object) -> AsyncIterator[SimpleNamespace]:
        os.kill(os.getpid(), signal.SIGTERM)
        yield SimpleNamespace(tasks=[], base_url="", admin_url="")
        world.writes += 1

    monkeypatch.setattr("ucmesh_simulator.__main__.running", running)
    assert await _serve(world, None, "token", file) == 0  # type: ignore[arg-type]
    kept = persistence.load(file)
    assert kept is not None
    assert kept.writes == world.writes


def test_no_file_is_no_world(tmp_path: Path) -> None:
    assert persistence.load(tmp_path / "none") is None


@pytest.mark.parametrize("content", [b"", b"garbage", pickle.dumps(("ucmesh-simulator-state-0", None))])
def test_a_file_of_another_release_is_said_and_passed_over(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "state"
    file.write_bytes(content)
    assert persistence.load(file) is None
    assert "starting from the seed" in capsys.readouterr().err
