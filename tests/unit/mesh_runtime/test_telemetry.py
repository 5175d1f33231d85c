"""Traces: context in, context out, sampling, and a shutdown that ends."""

import asyncio
import socket
import subprocess
import sys
import time

import pytest
from opentelemetry import trace
from opentelemetry.trace import Link, SpanKind

from mesh_runtime import telemetry

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_without_an_endpoint_nothing_is_traced_but_the_caller_s_context_goes_on():
    code = (
        "from mesh_runtime import telemetry as t\n"
        "from opentelemetry import context\n"
        "t.configure('s', None)\n"
        f"context.attach(t.context_from({{'traceparent': '{PARENT}'}}))\n"
        "with t.span('x') as s: print(t.enabled(), s.is_recording(), t.current_traceparent(), t.shutdown())"
    )
    assert run(code) == f"False False {PARENT} True"


def test_a_span_continues_the_caller_s_trace_and_hands_it_on():
    with telemetry.recording() as spans:
        context = telemetry.context_from({"traceparent": PARENT, "tracestate": "a=b"})
        with telemetry.span("outer", context=context, kind=SpanKind.SERVER, attributes={"k": 1}):
            handed_on = telemetry.current_traceparent()
            with telemetry.span("inner"):
                pass
    (outer,), (inner,) = spans.named("outer"), spans.named("inner")
    assert format(outer.context.trace_id, "032x") == PARENT.split("-")[1]
    assert format(outer.parent.span_id, "016x") == PARENT.split("-")[2]
    assert inner.parent.span_id == outer.context.span_id
    assert handed_on == f"00-{outer.context.trace_id:032x}-{outer.context.span_id:016x}-01"
    assert outer.context.trace_state.to_header() == "a=b"


def test_a_caller_that_is_not_sampled_makes_no_spans_but_keeps_its_trace():
    context = telemetry.context_from({"traceparent": UNSAMPLED})
    with telemetry.recording() as spans, telemetry.span("outer", context=context), telemetry.span("inner"):
        trace_id = telemetry.current_traceparent().split("-")[1]
    assert spans.spans == []
    assert trace_id == UNSAMPLED.split("-")[1]


def test_a_malformed_parent_starts_a_trace_of_its_own():
    with telemetry.recording() as spans:
        with telemetry.span("x", context=telemetry.context_from({"traceparent": "00-zz-1-01"})):
            pass
        with telemetry.span("y", context=telemetry.context_from({})):
            pass
    assert [span.parent for span in spans.spans] == [None, None]


def test_there_is_no_traceparent_outside_a_trace():
    assert telemetry.current_traceparent() is None


def test_an_error_in_a_span_is_recorded_on_it():
    with telemetry.recording() as spans, pytest.raises(ZeroDivisionError), telemetry.span("failing"):
        _ = 1 / 0
    assert spans.spans[0].status.status_code is trace.StatusCode.ERROR


def test_the_ratio_decides_for_new_traces_only():
    code = (
        "from mesh_runtime import telemetry as t\n"
        "t.configure('s', 'http://127.0.0.1:9', 0.0)\n"
        "with t.span('new') as a: pass\n"
        f"with t.span('kept', context=t.context_from({{'traceparent': '{PARENT}'}})) as b: pass\n"
        "print(t.enabled(), a.is_recording(), b.get_span_context().trace_flags.sampled)\n"
        "t.shutdown(0.1)"
    )
    assert run(code) == "True False True"


def test_a_trace_begun_for_others_has_a_span_of_its_own_only_where_it_is_sampled():
    code = (
        "from mesh_runtime import telemetry as t\n"
        "from opentelemetry.trace import SpanKind\n"
        "t.configure('s', 'http://127.0.0.1:9', {ratio})\n"
        "asked = []\n"
        "def begin(n):\n"
        "    return t.begin_trace('x', kind=SpanKind.CONSUMER, attributes=lambda: asked.append(n) or {{'n': n}})\n"
        "with t.recording() as spans: begun = [begin(n) for n in range(4_000)]\n"
        "made = {{f'{{s.context.trace_id:032x}}-{{s.context.span_id:016x}}' for s in spans.spans}}\n"
        "sampled = [each for each in begun if t.is_sampled(each)]\n"
        "print(len({{each[3:35] for each in begun}}), len(asked) == len(sampled) == len(spans.spans),\n"
        "      made == {{each[3:52] for each in sampled}}, len(sampled))\n"
        "t.shutdown(0.1)"
    )
    assert run(code.format(ratio=0.0)) == "4000 True True 0"
    assert run(code.format(ratio=1.0)) == "4000 True True 4000"
    *agreed, sampled = run(code.format(ratio=0.25)).split()
    assert agreed == ["4000", "True", "True"]
    assert 700 < int(sampled) < 1_300


def test_a_trace_begun_for_others_tells_what_it_is_and_what_it_came_with():
    link = Link(trace.get_current_span(telemetry.context_from({"traceparent": PARENT})).get_span_context())
    with telemetry.recording() as spans:
        begun = telemetry.begin_trace("x", kind=SpanKind.CONSUMER, links=[link], attributes=lambda: {"k": 1})
    [span] = spans.spans
    assert (span.name, span.kind, span.parent, dict(span.attributes)) == ("x", SpanKind.CONSUMER, None, {"k": 1})
    assert [each.context.span_id for each in span.links] == [link.context.span_id]
    assert begun.split("-")[1:3] == [f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"]
    assert telemetry.is_sampled(begun)
    assert not telemetry.is_sampled(UNSAMPLED)


def test_shutdown_is_bounded_when_the_backend_accepts_and_never_answers():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        code = (
            "import time; from mesh_runtime import telemetry as t\n"
            f"t.configure('s', 'http://127.0.0.1:{port}', 1.0)\n"
            "with t.span('x'): pass\n"
            "began = time.monotonic(); done = t.shutdown(1.0); print(done, time.monotonic() - began < 2.0)"
        )
        began = time.monotonic()
        assert run(code) == "False True"
        assert time.monotonic() - began < 15


async def test_spans_reach_an_otlp_backend():
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    bodies = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        bodies.append((head.split(" ")[1], await reader.readexactly(length)))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    code = (
        "from mesh_runtime import telemetry as t\n"
        f"t.configure('sample', 'http://127.0.0.1:{port}/', 1.0)\n"
        "with t.span('x'): pass\n"
        "print(t.shutdown(10))"
    )
    assert await asyncio.to_thread(run, code) == "True"
    server.close()
    ((path, body),) = bodies
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    assert path == "/v1/traces"
    assert resource.scope_spans[0].spans[0].name == "x"
    assert ("service.name", "sample") in [(a.key, a.value.string_value) for a in resource.resource.attributes]


def test_the_recording_block_ends_its_collection():
    with telemetry.recording() as first, telemetry.span("a"):
        pass
    with telemetry.recording() as second, telemetry.span("b"):
        pass
    assert [span.name for span in first.spans] == ["a"]
    assert [span.name for span in second.spans] == ["b"]
