"""From a bootstrap secret to an active certificate, on a real PostgreSQL; adapters answer as the test says."""

import base64
from collections.abc import AsyncIterator

import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12

from mesh_runtime import migrations
from mesh_runtime.db import Database
from mesh_runtime.errors import InvalidInput
from support.certificates import TENANT, Scene

pytestmark = pytest.mark.postgres
DELIVERED = "ucmesh.certs.credential.v1.delivered"
ACTIVATED = "ucmesh.certs.credential.v1.activated"


@pytest.fixture
async def scene(fresh_database) -> AsyncIterator[Scene]:
    url = fresh_database()
    await migrations.upgrade(url, "cert_manager")
    db = Database(url, application_name="test-cert-manager")
    yield Scene(db)
    await db.close()


async def test_the_bootstrap_secret_reaches_only_the_graph_adapter_and_the_certificate_both(scene: Scene) -> None:
    await scene.ensure()
    said = await scene.step()
    (_, secret), (_, certificate), (_, register) = said
    assert set(secret["sealed"]) == {"graph-adapter"}
    opened = scene.receivers["graph-adapter"].open(
        secret["sealed"]["graph-adapter"], context=f"credential:{secret['credential_id']}"
    )
    assert orjson.loads(opened) == {"client_secret": "first secret"}
    assert set(certificate["sealed"]) == {"graph-adapter", "pwsh-gateway"}
    assert register["operation"] == "application.add-key"
    assert register["credential"] == secret["credential_id"]


async def test_the_delivered_pfx_holds_the_key_of_the_registered_certificate(scene: Scene) -> None:
    await scene.ensure()
    said = await scene.step()
    certificate, register = said[1][1], said[2][1]
    bundle = orjson.loads(
        scene.receivers["pwsh-gateway"].open(
            certificate["sealed"]["pwsh-gateway"], context=f"credential:{certificate['credential_id']}"
        )
    )
    key, leaf, _ = pkcs12.load_key_and_certificates(base64.b64decode(bundle["pfx"]), bundle["password"].encode())
    assert key is not None
    assert leaf is not None
    registered = x509.load_der_x509_certificate(base64.b64decode(register["params"]["certificate"]))
    assert registered == leaf
    assert key.public_key() == leaf.public_key()
    assert leaf.public_key().key_size >= 2048


async def test_a_certificate_is_active_only_after_every_workload_accepted_it(scene: Scene) -> None:
    await scene.ensure()
    await scene.answer_all(await scene.step())
    probes = await scene.step()
    assert sorted(data["operation"] for _, data in probes) == [
        "exchange.organization.probe",
        "teams.tenant.probe",
        "tenant.probe",
    ]
    await scene.answer_all(probes[:2])
    assert await scene.step() == []
    await scene.answer_all(probes[2:])
    ((kind, data),) = await scene.step()
    assert kind == ACTIVATED
    assert data["workloads"] == {"graph": "verified", "exchange": "verified", "teams": "verified"}


async def test_reconciling_again_says_nothing_new(scene: Scene) -> None:
    await scene.ensure()
    await scene.run_to_the_end()
    before = len(scene.said)
    await scene.ensure()
    await scene.run_to_the_end()
    assert len(scene.said) == before


async def test_a_key_the_token_servers_do_not_know_yet_is_tried_again(scene: Scene) -> None:
    await scene.ensure()
    await scene.answer_all(await scene.step())
    for _, data in await scene.step():
        await scene.answer(data, "refused", code="credential", message="AADSTS700027")
    assert await scene.step() == []
    scene.clock.advance(2.5)
    assert len(await scene.step()) == 3


async def test_a_refused_registration_is_announced_with_what_to_do(scene: Scene) -> None:
    await scene.ensure()
    register = (await scene.step())[2][1]
    await scene.answer(
        register, "refused", code="permission-missing", message="Application.ReadWrite.OwnedBy is missing"
    )
    ((kind, data),) = await scene.step()
    assert kind == "ucmesh.certs.credential.v1.failed"
    assert "Application.ReadWrite.OwnedBy" in data["message"]
    assert "Grant" in data["remedy"]
    async with scene.units.begin() as unit:
        assert await unit.lease(10, 30.0) == [], "nothing is tried again before somebody acts"


async def test_a_secret_sealed_for_another_tenant_is_refused(scene: Scene) -> None:
    with pytest.raises(InvalidInput):
        await scene.ensure(tenant_id="00000000-0000-0000-0000-000000000000")


async def test_no_secret_is_readable_in_the_database(scene: Scene) -> None:
    await scene.ensure(secret="very secret words")
    await scene.run_to_the_end()
    async with scene.db.read() as tx:
        for table in ("registration", "credential"):
            for row in (await tx.exec_driver_sql(f"SELECT * FROM {table}")).mappings():
                text = repr(dict(row))
                assert "very secret words" not in text
                assert "PRIVATE KEY" not in text


async def test_an_unknown_tenant_is_left_alone(scene: Scene) -> None:
    await scene.reconcile(TENANT)
    assert await scene.step() == []
