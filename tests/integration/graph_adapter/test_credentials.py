"""Credentials: delivered sealed, kept sealed, switched, refused with words an administrator understands."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from graph_adapter import wire
from graph_adapter.adapters.graph.entra import EntraClient
from mesh_runtime.clock import Clock, ManualClock, SystemClock
from mesh_runtime.errors import InvalidInput, Unavailable
from mesh_runtime.sealing import SealingKey, seal_for
from support.graph_rig import Rig, ensure
from support.simulated import Simulator, Tenant, install, tenant_spec


async def test_without_an_active_credential_operations_fail_retryably(idle_rig: Rig, tenant: Tenant) -> None:
    async with idle_rig.working():
        reply = await idle_rig.execute(tenant, "tenant.probe", {})
        assert (reply["outcome"], reply["error"]["code"], reply["error"]["retryable"]) == ("failed", "credential", True)
        # A delivered credential is usable by its id, before it is active.
        credential_id = await idle_rig.secret(tenant)
        await idle_rig.succeed(tenant, "tenant.probe", {}, credential=str(credential_id))
        assert (await idle_rig.execute(tenant, "tenant.probe", {}))["error"]["code"] == "credential"


async def test_an_unknown_operation_needs_no_credential_to_be_refused(idle_rig: Rig, tenant: Tenant) -> None:
    async with idle_rig.working():
        reply = await idle_rig.execute(tenant, "user.vanish", {})
        assert (reply["outcome"], reply["error"]["code"]) == ("refused", "unknown-operation")
        await idle_rig.secret(tenant, "not the secret")
        tenant.fault(action="status", face="login", status=503, retry_after_seconds=600)
        reply = await idle_rig.execute(tenant, "user.get", {"user": "x"}, version=9)
        assert (reply["outcome"], reply["error"]["code"]) == ("refused", "unknown-operation")


async def test_what_waits_behind_an_unknown_operation_of_a_target_is_carried_out(rig: Rig, tenant: Tenant) -> None:
    orders = [rig.order(tenant, name, {}) for name in ("user.vanish", "tenant.probe", "user.vanish", "tenant.probe")]
    orders = [order | {"target": "the same"} for order in orders]
    await rig.send(*orders)
    replies = await rig.replies(orders)
    assert [reply["outcome"] for reply in replies] == ["refused", "succeeded", "refused", "succeeded"]


async def test_secrets_are_nowhere_in_plain(rig: Rig, tenant: Tenant) -> None:
    await rig.succeed(tenant, "user.ensure", ensure(tenant, "ada"))
    for table in ("operation", "credential", "tenant", "outbox", "created_object"):
        rows = await rig.rows(f"SELECT row_to_json(t)::text AS content FROM {table} AS t")
        content = " ".join(row.content for row in rows)
        assert tenant.secret not in content
        assert tenant.secret.encode().hex() not in content
        assert "passwordProfile" not in content


async def test_a_wrong_secret_is_a_credential_failure_and_not_a_storm(rig: Rig, tenant: Tenant) -> None:
    await rig.activate(tenant, await rig.secret(tenant, "not the secret"))
    orders = [rig.order(tenant, "tenant.probe", {}) for _ in range(20)]
    await rig.send(*orders)
    replies = await rig.replies(orders)
    assert {reply["error"]["code"] for reply in replies} == {"credential"}
    assert {reply["error"]["retryable"] for reply in replies} == {False}
    assert "AADSTS7000215" in replies[0]["error"]["message"]
    assert replies[0]["error"]["remedy"]
    assert tenant.state("requests")["counts"]["login POST 401"] == 1


async def test_a_certificate_that_is_not_registered_may_only_be_new(rig: Rig, tenant: Tenant) -> None:
    credential_id, _ = await rig.certificate(tenant)
    reply = await rig.execute(tenant, "tenant.probe", {}, credential=str(credential_id))
    assert (reply["error"]["code"], reply["error"]["retryable"]) == ("credential", True)
    assert "AADSTS700027" in reply["error"]["message"]


@pytest.mark.parametrize("hours", [-6, 6])
async def test_an_assertion_is_dated_by_the_clock_given(rig: Rig, tenant: Tenant, hours: int) -> None:
    credential_id, der = await rig.certificate(tenant)
    params = {"application_object_id": tenant.object_id, "certificate": der, "display_name": "ucmesh"}
    await rig.succeed(tenant, "application.add-key", params, credential=str(await rig.secret(tenant)))
    async with rig.store.read() as unit:
        found = await unit.credentials.load(credential_id)
    assert found is not None
    credential, secret = found[0], rig.vault.open(*found)

    def sign_in(clock: Clock) -> dict[str, Any]:
        client = EntraClient(credential, secret, tenant.simulator.base_url, tenant.simulator.ca_file, clock)
        return client.sign_in("https://graph.microsoft.com/.default")

    assert sign_in(SystemClock())["access_token"]
    wrong = ManualClock(datetime.now(UTC) + timedelta(hours=hours))
    with pytest.raises(Unavailable, match="AADSTS700024"):
        await asyncio.to_thread(sign_in, wrong)


async def test_an_unknown_credential(rig: Rig, tenant: Tenant) -> None:
    reply = await rig.execute(tenant, "tenant.probe", {}, credential=str(uuid.uuid4()))
    assert (reply["error"]["code"], reply["error"]["retryable"]) == ("credential", True)


async def test_a_credential_of_another_tenant_is_not_used(rig: Rig, tenant: Tenant, simulator: Simulator) -> None:
    other = install(simulator, tenant_spec())
    credential_id = await rig.secret(other)
    reply = await rig.execute(tenant, "tenant.probe", {}, credential=str(credential_id))
    assert (reply["outcome"], reply["error"]["code"]) == ("failed", "tenant-mismatch")


async def test_sign_in_that_is_down_is_waited_for(rig: Rig, tenant: Tenant) -> None:
    tenant.fault(action="status", face="login", status=503, times=1, retry_after_seconds=1)
    reply = await rig.execute(tenant, "tenant.probe", {})
    assert reply["outcome"] == "succeeded"


async def test_a_bundle_for_somebody_else_is_refused(idle_rig: Rig, tenant: Tenant) -> None:
    credential_id = uuid.uuid4()
    foreign = seal_for(
        SealingKey.generate().public_jwk, b'{"client_secret": "x"}', context=f"credential:{credential_id}"
    )
    data = {
        "credential_id": str(credential_id), "tenant_id": tenant.tenant_id, "customer": "n", "client_id": "c",
        "application_object_id": "a", "organization": "o", "cloud": "commercial", "kind": "client_secret",
        "thumbprint": None, "not_before": None, "not_after": None, "sealed": {"graph-adapter": foreign},
    }  # fmt: skip
    with pytest.raises(InvalidInput):
        await idle_rig.deliver(wire.CREDENTIAL_DELIVERED, data)
    await idle_rig.deliver(wire.CREDENTIAL_DELIVERED, data | {"sealed": {"pwsh-gateway": foreign}})
    rows = await idle_rig.rows("SELECT 1 FROM credential WHERE credential_id = :id", id=credential_id)
    assert rows == []


async def test_missing_permission_is_refused_before_anything_is_asked(rig: Rig, simulator: Simulator) -> None:
    spec = tenant_spec()
    spec["applications"][0]["roles"] = ["User.Read.All"]
    narrow = install(simulator, spec)
    await rig.activate(narrow)
    await rig.succeed(narrow, "tenant.probe", {})
    before = narrow.state("requests")["counts"]
    reply = await rig.execute(narrow, "user.ensure", ensure(narrow, "ada"))
    assert (reply["outcome"], reply["error"]["code"]) == ("refused", "permission-missing")
    assert "User.ReadWrite.All" in reply["error"]["remedy"]
    assert narrow.state("requests")["counts"] == before
    (row,) = await rig.rows("SELECT roles FROM tenant WHERE tenant_id = :id", id=narrow.tenant_id)
    assert row.roles == ["User.Read.All"]


async def test_a_token_without_any_role_is_no_licence_to_try(rig: Rig, simulator: Simulator) -> None:
    spec = tenant_spec()
    spec["applications"][0]["roles"] = []
    bare = install(simulator, spec)
    await rig.activate(bare)
    reply = await rig.execute(bare, "tenant.probe", {})
    assert (reply["outcome"], reply["error"]["code"]) == ("refused", "permission-missing")


def test_the_bundle_models_match_what_is_sealed() -> None:
    certificate = orjson.dumps({"pfx": "x", "password": "y", "certificate_pem": "c", "private_key_pem": "k"})
    assert wire.CertificateBundle.model_validate_json(certificate).private_key_pem == "k"
