"""One trace per command: the operation's span is a child of the command's, the round links to it, the reply
carries it on.
"""

from mesh_messaging.testing import drain_outbox
from mesh_runtime import telemetry
from support.graph_rig import Rig, ensure
from support.simulated import Tenant

TRACE, PARENT = "a" * 32, "b" * 16


async def test_spans_of_a_sampled_command(rig: Rig, tenant: Tenant) -> None:
    async with rig.db.transaction() as tx:
        await drain_outbox(tx)
    with telemetry.recording() as spans:
        order = rig.order(tenant, "user.ensure", ensure(tenant, "ada"))
        await rig.send(order, traceparent=f"00-{TRACE}-{PARENT}-01")
        reply = await rig.reply(order["operation_id"])
        (span,) = [span for span in spans.named("graph user.ensure") if span.context.trace_id == int(TRACE, 16)]
        assert span.parent is not None
        assert span.parent.span_id == int(PARENT, 16)
        attributes = dict(span.attributes or {})
        assert attributes["ucmesh.operation_id"] == order["operation_id"]
        assert attributes["ucmesh.outcome"] == "succeeded"
        assert list(attributes["microsoft.request_ids"]) == reply["request_ids"]  # type: ignore[call-overload]
        rounds = [link for round_span in spans.named("graph.round") for link in round_span.links]
        assert int(TRACE, 16) in {link.context.trace_id for link in rounds}
    async with rig.db.transaction() as tx:
        (message,) = await drain_outbox(tx)
    assert message.event.traceparent == f"00-{TRACE}-{span.context.span_id:016x}-01"


async def test_an_unsampled_command_costs_no_span_and_keeps_its_trace(rig: Rig, tenant: Tenant) -> None:
    with telemetry.recording() as spans:
        order = rig.order(tenant, "tenant.probe", {})
        await rig.send(order, traceparent=f"00-{TRACE}-{PARENT}-00")
        await rig.reply(order["operation_id"])
        assert not [span for span in spans.named("graph tenant.probe") if span.context.trace_id == int(TRACE, 16)]
