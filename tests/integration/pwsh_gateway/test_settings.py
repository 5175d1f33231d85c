"""The worker on a real PostgreSQL with a scripted session host: settings, error rules, and what is forgotten."""

from pwsh_gateway import main
from pwsh_gateway.application import ReplaceRules
from pwsh_gateway.application.follow_controls import FollowControls
from support.gateway import Gateway, Script
from support.waiting import eventually


async def test_settings_survive_and_an_unknown_one_does_no_harm(gateway: Gateway) -> None:
    await gateway.configure(concurrency_global_max=3)
    await gateway.rows("UPDATE config_change SET config = config || '{\"gone.key\": 1}' RETURNING 1")
    async with gateway.db.read() as tx:
        config = await gateway.parts.stored_settings.config(tx)
    assert config.concurrency_global_max == 3


async def test_edited_error_rules_are_used_and_not_overwritten_at_the_next_start(
    gateway: Gateway, script: Script
) -> None:
    await gateway.give_credential()
    replace = ReplaceRules(
        gateway.parts.stored_settings, gateway.parts.bell, gateway.db.transaction, gateway.parts.clock
    )
    rule = {"id": "ours", "match": {"message": "not found"}, "class": "business", "action": "fail", "code": "our-code",
            "outcome": "refused"}  # fmt: skip
    async with gateway.running() as worker:
        await replace([rule], "admin")
        controls = worker.refresh
        assert isinstance(controls, FollowControls)
        await eventually(lambda: len(controls.rules.rules) == 1)
        reply = await gateway.do("teams.user.get", target="nobody@northwind.example")
    assert (reply["outcome"], reply["error"]["code"]) == ("refused", "our-code")
    await main.seed(gateway.parts)
    async with gateway.db.read() as tx:
        assert len((await gateway.parts.stored_settings.rules(tx)).rules) == 1


async def test_old_rows_are_forgotten(gateway: Gateway) -> None:
    await gateway.give_credential()
    async with gateway.running() as worker:
        await gateway.do("teams.user.get")
    for table, column in (("operation", "finished_at"), ("execution", "started_at"), ("session", "ended_at")):
        await gateway.rows(f"UPDATE {table} SET {column} = {column} - interval '31 days' RETURNING 1")
    assert await worker.forget(worker.config()) == 3
    assert await worker.forget(worker.config()) == 0
