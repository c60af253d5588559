"""Futures: asked for their result, called back, cancelled, dropped."""

from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as stubs

from portico.testing import parity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_SECONDS = 20


class Servicer(stubs.GreeterServiceServicer):
    """Answers "quick" at once, fails on "fail", and on "wait" waits to be let go or given up."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.go_on = threading.Event()
        self.given_up = threading.Event()

    def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
        self._act(request.name, context)
        return pb.SayHelloResponse(message=f"hello {request.name}")

    def Repeat(self, request: pb.RepeatRequest, context: Any) -> Iterator[pb.RepeatResponse]:
        self._act(request.name, context)
        yield pb.RepeatResponse(message=f"hello {request.name}")

    def Gather(self, request_iterator: Any, context: Any) -> pb.GatherResponse:
        name = next(request_iterator).name
        self._act(name, context)
        return pb.GatherResponse(message=f"hello {name}")

    def Chat(self, request_iterator: Any, context: Any) -> Iterator[pb.ChatResponse]:
        yield from ()

    def _act(self, name: str, context: Any) -> None:
        if name == "fail":
            context.abort(grpc.StatusCode.NOT_FOUND, "gone")
        if name == "wait":
            context.add_callback(self.given_up.set)
            self.started.set()
            self.go_on.wait(PATIENCE_SECONDS)


def unary(stub: Any, name: str, timeout: float = PATIENCE_SECONDS) -> Any:
    return stub.SayHello.future(pb.SayHelloRequest(name=name), timeout=timeout)


def requests(stub: Any, name: str, timeout: float = PATIENCE_SECONDS) -> Any:
    return stub.Gather.future(iter([pb.GatherRequest(name=name)]), timeout=timeout)


@pytest.fixture(params=[unary, requests])
def begin(request: Any) -> Any:
    return request.param


@pytest.fixture
def run(agree: Any) -> Callable[[Callable[[Any, Servicer], Any]], Any]:
    """Runs ``script(stub, servicer)`` over every channel, each with a servicer of its own."""

    def run(script: Callable[[Any, Servicer], Any], **options: Any) -> Any:
        servicers: list[Servicer] = []

        def populate(registrar: Any) -> None:
            servicers.append(Servicer())
            stubs.add_GreeterServiceServicer_to_server(servicers[-1], registrar)

        def on_channel(channel: grpc.Channel) -> Any:
            try:
                return script(stubs.GreeterServiceStub(channel), servicers[-1])
            finally:
                servicers[-1].go_on.set()

        return agree(populate, on_channel, **options)

    return run


def settled(future: Any) -> Any:
    """All that can be asked of a future that has ended, or soon will have."""
    return {
        "result": parity.told(lambda: future.result(timeout=PATIENCE_SECONDS).message),
        "exception": parity.told(lambda: _shown(future.exception(timeout=PATIENCE_SECONDS))),
        "traceback": parity.told(lambda: type(future.traceback()).__name__),
        "call": parity.ended(future),
        "late cancel": future.cancel(),
    }


def _shown(error: Any) -> Any:
    return None if error is None else parity.failure(error)


@pytest.mark.parametrize("name", ["quick", "fail"])
def test_a_future_tells_how_its_call_ended(run: Any, begin: Any, name: str) -> None:
    def script(stub: Any, _: Servicer) -> Any:
        future = begin(stub, name)
        return settled(future) | {"late callback": future.add_callback(lambda: None)}

    run(script)


def test_a_result_that_takes_longer_than_asked_for_is_a_timeout_of_the_asking(
    run: Any, begin: Any
) -> None:
    def script(stub: Any, servicer: Servicer) -> Any:
        future = begin(stub, "wait")
        servicer.started.wait(PATIENCE_SECONDS)
        outcome = {
            "result": parity.told(lambda: future.result(timeout=0.01)),
            "exception": parity.told(lambda: future.exception(timeout=0)),
            "traceback": parity.told(lambda: future.traceback(timeout=0)),
            "running": future.running(),
            "done": future.done(),
            "active": future.is_active(),
            "time is left": 0 < future.time_remaining() <= PATIENCE_SECONDS,
        }
        servicer.go_on.set()
        return outcome | {"then": settled(future)}

    outcome = run(script)

    assert outcome["result"] == {"raised": "FutureTimeoutError"}
    assert outcome["then"]["call"]["code"] == "OK"


def test_a_cancelled_future_says_so_and_its_servicer_hears_of_it(run: Any, begin: Any) -> None:
    def script(stub: Any, servicer: Servicer) -> Any:
        future = begin(stub, "wait")
        servicer.started.wait(PATIENCE_SECONDS)
        return {
            "cancel": future.cancel(),
            "settled": settled(future),
            "given up": servicer.given_up.wait(PATIENCE_SECONDS),
        }

    outcome = run(script)

    assert outcome["settled"]["result"] == {"raised": "FutureCancelledError"}
    assert outcome["settled"]["call"]["cancelled"]
    assert outcome["given up"]


def test_a_future_ends_at_its_deadline_whatever_its_servicer_does(run: Any, begin: Any) -> None:
    outcome = run(lambda stub, _: settled(begin(stub, "wait", 0.1)))

    assert outcome["call"]["code"] == "DEADLINE_EXCEEDED"


def test_a_callback_is_called_at_the_deadline_though_nobody_asks(run: Any, begin: Any) -> None:
    def script(stub: Any, servicer: Servicer) -> Any:
        ended = threading.Event()
        future = begin(stub, "wait", 0.2)
        future.add_done_callback(lambda _: ended.set())
        return ended.wait(PATIENCE_SECONDS) and not servicer.go_on.is_set()

    assert run(script)


@pytest.mark.parametrize("name", ["quick", "fail"])
def test_callbacks_get_the_future_whether_they_come_early_or_late(
    run: Any, begin: Any, name: str
) -> None:
    def script(stub: Any, _: Servicer) -> Any:
        seen: list[tuple[str, bool]] = []
        early = threading.Event()
        future = begin(stub, name)

        def note(when: str) -> Callable[[Any], None]:
            return lambda given: seen.append((when, given is future))

        future.add_done_callback(note("early"))
        future.add_done_callback(lambda _: early.set())
        early.wait(PATIENCE_SECONDS)
        future.add_done_callback(note("late"))
        return seen

    assert run(script) == [("early", True), ("late", True)]


def test_a_callback_that_raises_harms_neither_the_call_nor_the_others(run: Any, begin: Any) -> None:
    def script(stub: Any, servicer: Servicer) -> Any:
        called = threading.Event()
        future = begin(stub, "wait")
        future.add_done_callback(lambda _: 1 / 0)
        future.add_done_callback(lambda _: called.set())
        servicer.go_on.set()
        return {"called": called.wait(PATIENCE_SECONDS), "result": settled(future)}

    assert run(script)["called"]


def test_a_future_that_nobody_holds_is_cancelled(run: Any, begin: Any) -> None:
    def script(stub: Any, servicer: Servicer) -> Any:
        future = begin(stub, "wait")
        servicer.started.wait(PATIENCE_SECONDS)
        del future
        gc.collect()
        return servicer.given_up.wait(PATIENCE_SECONDS)

    assert run(script)


def test_with_call_gives_a_call_that_is_over(run: Any) -> None:
    def script(stub: Any, _: Servicer) -> Any:
        unary = stub.SayHello.with_call(pb.SayHelloRequest(name="quick"), timeout=PATIENCE_SECONDS)
        gathered = stub.Gather.with_call(
            iter([pb.GatherRequest(name="quick")]), timeout=PATIENCE_SECONDS
        )
        return [
            {
                "response": response.message,
                "call": parity.ended(call),
                "result": call.result().message,
                "exception": call.exception(),
                "cancel": call.cancel(),
                "callback": call.add_callback(lambda: None),
            }
            for response, call in (unary, gathered)
        ]

    run(script)


def test_a_stream_is_a_future_too(run: Any) -> None:
    def script(stub: Any, servicer: Servicer) -> Any:
        call = stub.Repeat(pb.RepeatRequest(name="wait"), timeout=PATIENCE_SECONDS)
        servicer.started.wait(PATIENCE_SECONDS)
        ended = threading.Event()
        call.add_done_callback(lambda _: ended.set())
        before = {
            "done": call.done(),
            "running": call.running(),
            "result": parity.told(lambda: call.result(timeout=0.01)),
        }
        servicer.go_on.set()
        messages = [each.message for each in call]
        return {
            "before": before,
            "messages": messages,
            "ended": ended.wait(PATIENCE_SECONDS),
            "exception": call.exception(),
            "call": parity.ended(call),
        }

    run(script)
