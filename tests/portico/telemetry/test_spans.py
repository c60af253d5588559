"""The same tree of spans, whether a call stays in the process or goes over a socket."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc
import pytest
from examples.greeter.v1 import greeter_pb2 as pb
from opentelemetry import trace as otel

from portico.context import current, entered, root
from portico.errors import StatusError
from portico.lab import trace_tree
from portico.telemetry import logs
from portico.telemetry.tracing import TraceParent
from tests.portico.telemetry.greeting import PLACEMENTS, SERVICE, Greet, Greeting

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


def hello(name: str) -> pb.SayHelloRequest:
    return pb.SayHelloRequest(name=name)


def call(name: str) -> Callable[[Any], object]:
    return lambda stub: stub.SayHello(hello(name))


def give_up(stub: Any) -> None:
    answers = stub.Repeat(pb.RepeatRequest(times=100_000))
    next(answers)
    answers.cancel()


CASES: dict[str, Callable[[Any], object]] = {
    "success": call("you"),
    "nested": call("you:and me"),
    "refusal": call("nobody"),
    "nested refusal": call("you:nobody"),
    "mistake": call("broken"),
    "abort": call("aborted"),
    "nested twice": call("you:and me:and them"),
    "with_call": lambda stub: stub.SayHello.with_call(hello("you:and me")),
    "future": lambda stub: stub.SayHello.future(hello("you:and me")).result(),
    "future refused": lambda stub: stub.SayHello.future(hello("nobody")).exception(),
    "responses": lambda stub: list(stub.Repeat(pb.RepeatRequest(times=3))),
    "responses, then refusal": lambda stub: list(stub.Repeat(pb.RepeatRequest(name="nobody"))),
    "requests": lambda stub: stub.Gather(iter([pb.GatherRequest(name="a")])),
    "both": lambda stub: list(stub.Chat(iter([pb.ChatRequest(name="a")]))),
}


def made(greeting: Greeting, act: Callable[[Any], object]) -> list[trace_tree.Shape]:
    with suppress(grpc.RpcError):
        act(greeting.stub)
    return settled(greeting)


def settled(greeting: Greeting) -> list[trace_tree.Shape]:
    """The shapes when as many spans of callers have ended as of servicers: theirs may end later."""
    until = time.monotonic() + 10
    while True:
        shapes = greeting.shapes()
        kinds = [shape.kind for shape in shapes]
        if kinds.count("CLIENT") == kinds.count("SERVER") or time.monotonic() > until:
            return shapes
        time.sleep(0.02)


@pytest.mark.parametrize("case", CASES)
def test_a_tree_is_the_same_over_a_socket(greet: Greet, case: str) -> None:
    local, remote, peer = (made(greet(each), CASES[case]) for each in (*PLACEMENTS, "peer"))

    assert local == remote
    assert local == peer
    assert len(local) >= 2
    assert {shape.name.rpartition("/")[0] for shape in local} == {SERVICE}


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_every_call_is_a_client_span_with_a_server_span_below(greet: Greet, placement: str) -> None:
    shapes = made(greet(placement), call("you:and me"))

    assert [(shape.depth, shape.kind, shape.status) for shape in shapes] == [
        (0, "CLIENT", "UNSET"),
        (1, "SERVER", "UNSET"),
        (2, "CLIENT", "UNSET"),
        (3, "SERVER", "UNSET"),
    ]


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize(
    ("name", "number", "on_server"),
    [
        ("you", 0, "UNSET"),
        ("nobody", 5, "UNSET"),
        ("broken", 13, "ERROR"),
        ("aborted", 15, "ERROR"),
    ],
)
def test_the_outcome_is_on_both_spans(
    greet: Greet, placement: str, name: str, number: int, on_server: str
) -> None:
    greeting = greet(placement)
    made(greeting, call(name))

    client, server = sorted(greeting.spans(), key=lambda span: span.kind)
    assert client.attributes["rpc.grpc.status_code"] == number
    assert server.attributes["rpc.grpc.status_code"] == number
    assert client.status == ("ERROR" if number else "UNSET")
    assert server.status == on_server
    for span in (client, server):
        assert span.attributes["rpc.system"] == "grpc"
        assert span.attributes["rpc.service"] == SERVICE.strip("/")
        assert span.attributes["rpc.method"] == "SayHello"
        assert span.attributes["portico.placement"] == placement


@pytest.mark.parametrize("placement", [*PLACEMENTS, "peer"])
def test_a_stream_that_its_client_gives_up_ends_as_cancelled_on_both_sides(
    greet: Greet, placement: str
) -> None:
    greeting = greet(placement)
    give_up(greeting.stub)
    settled(greeting)

    until = time.monotonic() + 10
    ends: list[trace_tree.Span] = []
    while len(ends) < 2 and time.monotonic() < until:
        ends = [span for span in greeting.spans() if span.name.endswith("Repeat")]
        time.sleep(0.02)
    assert [span.attributes["rpc.grpc.status_code"] for span in ends] == [1, 1]


def test_a_call_more_makes_another_tree(greet: Greet) -> None:
    honest, planted = greet("local"), greet("remote")
    planted.servicer.twice = True

    assert made(honest, call("you:and me")) != made(planted, call("you:and me"))


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_spans_and_calls_have_the_same_ids(greet: Greet, placement: str) -> None:
    greeting = greet(placement)
    made(greeting, call("you:and me"))

    assert len(greeting.servicer.traces) == 2
    assert len({trace_id for pair in greeting.servicer.traces for trace_id in pair}) == 1
    assert {span.trace_id for span in greeting.spans()} == {greeting.servicer.traces[0][0]}


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_log_names_the_span(
    greet: Greet, placement: str, capfd: pytest.CaptureFixture[str]
) -> None:
    greeting = greet(placement)
    logs.configure(format="json", process=placement)
    try:
        made(greeting, call("broken"))
    finally:
        logs.configure("warning", "json")

    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    told = [line for line in lines if line["event"] == "call"]
    server = next(span for span in greeting.spans() if span.kind == "SERVER")
    assert told[0]["trace_id"] == server.trace_id
    assert told[0]["span_id"] == server.span_id
    assert told[0]["process"] == placement


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_trace_of_a_client_outside_goes_on(greet: Greet, placement: str) -> None:
    greeting = greet(placement)
    parent = TraceParent(TRACE, SPAN, sampled=True)
    greeting.stub.SayHello(hello("you"), metadata=(("traceparent", str(parent)),))
    settled(greeting)

    client = next(span for span in greeting.spans() if span.kind == "CLIENT")
    assert (client.trace_id, client.parent_id) == (TRACE, SPAN)
    assert greeting.servicer.traces == [(TRACE, TRACE)]


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_work_that_has_a_trace_id_and_no_span_keeps_its_id(greet: Greet, placement: str) -> None:
    greeting = greet(placement)
    with entered(root()) as call:
        greeting.stub.SayHello(hello("you"))
        assert greeting.servicer.traces == [(call.trace_id, call.trace_id)]
    settled(greeting)
    assert {span.trace_id for span in greeting.spans()} == {call.trace_id}


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_what_is_not_sampled_has_ids_and_no_spans(greet: Greet, placement: str) -> None:
    greeting = greet(placement, ratio=0.0)
    greeting.stub.SayHello(hello("you:and me"))
    recorded = TraceParent(TRACE, SPAN, sampled=True)
    greeting.stub.SayHello(hello("me"), metadata=(("traceparent", str(recorded)),))
    settled(greeting)

    first, second, _ = greeting.servicer.traces
    assert first == second
    assert first[0] == first[1]
    assert {span.trace_id for span in greeting.spans()} == {TRACE}


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_metadata_of_one_name_all_arrive(greet: Greet, placement: str) -> None:
    greeting = greet(placement)
    greeting.stub.SayHello(hello("you"), metadata=(("tag", "a"), ("tag", "b")))

    assert [value for key, value in greeting.servicer.metadata if key == "tag"] == ["a", "b"]


def test_one_traceparent_is_on_the_wire(greet: Greet) -> None:
    greeting = greet("remote")
    greeting.stub.SayHello(hello("you:and me"))

    assert [key for key, _ in greeting.servicer.metadata].count("traceparent") == 1


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_call_that_is_too_late_to_begin_makes_no_spans(greet: Greet, placement: str) -> None:
    greeting = greet(placement)
    late = root(deadline=time.monotonic() - 1)
    with entered(late), pytest.raises(StatusError):
        greeting.stub.SayHello(hello("you"))

    assert greeting.spans() == []


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_what_other_libraries_trace_is_below_the_servicers_span(
    greet: Greet, placement: str
) -> None:
    greeting, seen = greet(placement), []

    class Nosy:
        def SayHello(self, request: Any) -> None:
            seen.append(otel.get_current_span().get_span_context())

    greeting.servicer.other = Nosy()
    greeting.stub.SayHello(hello("you:and me"))
    settled(greeting)

    server = next(span for span in greeting.spans() if span.kind == "SERVER")
    assert [f"{each.span_id:016x}" for each in seen] == [server.span_id]
    assert not otel.get_current_span().get_span_context().is_valid


def test_a_servicer_may_turn_compression_off_though_it_is_traced(greet: Greet) -> None:
    greeting = greet("remote")

    class Plain:
        def SayHello(self, request: Any) -> None:
            current().disable_next_message_compression()

    greeting.servicer.other = Plain()
    assert greeting.stub.SayHello(hello("you:and me")).message


def test_without_a_destination_opentelemetry_is_not_even_imported() -> None:
    program = """
import sys
from portico import Application, Module, Settings
from examples.greeter.v1 import greeter_pb2_grpc as grpc
module = Module(name="greeter",
                provides={grpc.add_GreeterServiceServicer_to_server: grpc.GreeterServiceServicer})
settings = Settings(grpc_port=0, http_port=0)
with Application(name="hello", modules=[module]).running(settings):
    print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "[]"
