"""One joiner is one trace: the HR event, the plan, every command, however many timers lie between."""

from __future__ import annotations

from mesh_runtime import telemetry
from orchestrator.domain.plan import Retry
from support.plan_mesh import PlanMesh
from support.plan_script import Behaviour, op

EVENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_everything_a_plan_does_is_in_the_trace_of_its_hr_event(db):
    operations = [op("user", retry=Retry(first_seconds=1)), op("number", "user")]
    mesh = PlanMesh(
        db, lambda _request: operations, {"user": Behaviour(failures=1), "number": Behaviour(outcome="failed")}
    )
    with telemetry.recording() as spans:
        [plan_id] = await mesh.start(mesh.start_request(traceparent=EVENT))
        await mesh.run_to_end()
    assert await mesh.state(plan_id) == "compensated"
    [start], [life] = spans.named("plan.start"), spans.named("plan")
    trace_id = f"{start.context.trace_id:032x}"
    assert trace_id == EVENT.split("-")[1]
    assert f"{start.parent.span_id:016x}" == EVENT.split("-")[2]
    assert life.parent.span_id == start.context.span_id
    assert life.attributes["ucmesh.plan.id"] == str(plan_id)
    assert life.attributes["ucmesh.plan.state"] == "compensated"
    own = f"00-{trace_id}-{start.context.span_id:016x}-01"
    assert {message.event.traceparent for message in mesh.commands + mesh.notices} == {own}
    assert mesh.sent(plan_id) == ["test.observe", "test.user", "test.user", "test.number", "undo.user"]
    [timers] = spans.named("plans.timers")
    assert [link.context.span_id for link in timers.links] == [start.context.span_id]


async def test_a_trace_that_is_not_sampled_goes_on_without_spans(db):
    unsampled = EVENT[:-2] + "00"
    mesh = PlanMesh(db, lambda _request: [op("user")], {})
    with telemetry.recording() as spans:
        [plan_id] = await mesh.start(mesh.start_request(traceparent=unsampled))
        await mesh.run_to_end()
    assert await mesh.state(plan_id) == "succeeded"
    assert spans.named("plan.start") == spans.named("plan") == []
    assert {message.event.traceparent for message in mesh.commands + mesh.notices} == {unsampled}


async def test_a_plan_without_a_traced_event_begins_a_trace(db):
    mesh = PlanMesh(db, lambda _request: [])
    with telemetry.recording() as spans:
        [plan_id] = await mesh.start(mesh.start_request())
    [start] = spans.named("plan.start")
    traceparent = (await mesh.plan(plan_id)).plan.traceparent
    assert traceparent.split("-")[1] == f"{start.context.trace_id:032x}"
