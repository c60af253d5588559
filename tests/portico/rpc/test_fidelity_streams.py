"""Streams: who reads how far ahead, who stops first, and what the other side sees of it."""

from __future__ import annotations

import gc
import itertools
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
MEGABYTE = 2**20


class Servicer(stubs.GreeterServiceServicer):
    """Streams of all kinds; ``seen`` is what a test may wait for."""

    def __init__(self) -> None:
        self.context: Any = None
        self.go_on = threading.Event()
        self.started = threading.Event()
        self.seen = threading.Event()
        self.produced = 0

    def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
        return pb.SayHelloResponse(message=request.name)

    def Repeat(self, request: pb.RepeatRequest, context: Any) -> Any:
        self.context = context
        return getattr(self, "_" + request.name)(request, context)

    def Gather(self, request_iterator: Any, context: Any) -> pb.GatherResponse:
        first = next(request_iterator, pb.GatherRequest(name="join"))
        return pb.GatherResponse(message=getattr(self, "_" + first.name)(request_iterator, context))

    def Chat(self, request_iterator: Any, context: Any) -> Iterator[pb.ChatResponse]:
        for request in request_iterator:
            yield pb.ChatResponse(message=request.name)

    def _count(self, request: pb.RepeatRequest, context: Any) -> Iterator[pb.RepeatResponse]:
        for number in range(request.times):
            yield pb.RepeatResponse(message=str(number))

    def _list(self, request: pb.RepeatRequest, context: Any) -> Iterator[pb.RepeatResponse]:
        return iter([pb.RepeatResponse(message="a"), pb.RepeatResponse(message="b")])

    def _none(self, request: pb.RepeatRequest, context: Any) -> Any:
        yield pb.RepeatResponse(message="before")
        yield None
        yield pb.RepeatResponse(message="after")

    def _empty(self, request: pb.RepeatRequest, context: Any) -> Iterator[pb.RepeatResponse]:
        yield pb.RepeatResponse()
        yield pb.RepeatResponse(message="é" * MEGABYTE)
        yield pb.RepeatResponse()

    def _wrong(self, request: pb.RepeatRequest, context: Any) -> Any:
        yield pb.RepeatResponse(message="before")
        yield "no message"

    def _endless(self, request: pb.RepeatRequest, context: Any) -> Iterator[pb.RepeatResponse]:
        """Until its reader is gone: then ``seen``."""
        try:
            for number in itertools.count():
                self.produced = number + 1
                yield pb.RepeatResponse(message="x" * request.times)
        finally:
            self.seen.set()

    def _cancelling(self, request: pb.RepeatRequest, context: Any) -> Iterator[pb.RepeatResponse]:
        yield pb.RepeatResponse(message="1")
        yield pb.RepeatResponse(message="2")
        self.go_on.wait(PATIENCE_SECONDS)
        context.cancel()
        yield pb.RepeatResponse(message="never seen")

    def _waiting(self, request: pb.RepeatRequest, context: Any) -> Iterator[pb.RepeatResponse]:
        """Sends one message and waits to be given up: then ``seen``."""
        context.add_callback(self.seen.set)
        yield pb.RepeatResponse(message="first")
        self.seen.wait(PATIENCE_SECONDS)
        self.go_on.wait(PATIENCE_SECONDS)

    def _join(self, requests: Any, context: Any) -> str:
        return " ".join(each.name for each in requests)

    def _ignore(self, requests: Any, context: Any) -> str:
        return "did not read on"

    def _sizes(self, requests: Any, context: Any) -> str:
        return str([len(each.name) for each in requests])

    def _slow(self, requests: Any, context: Any) -> str:
        self.go_on.wait(PATIENCE_SECONDS)
        return "did not read on"

    def _late(self, requests: Any, context: Any) -> str:
        """Keeps its requests and tells what reading them after the end does."""
        self.requests = requests
        return "ended"

    def _outwait(self, requests: Any, context: Any) -> str:
        """Reads requests until its caller is gone: then ``seen``.

        grpcio tells that by an RpcError or by the end of the requests, as chance has it.
        """
        self.started.set()
        try:
            return self._join(requests, context)
        finally:
            self.seen.set()


@pytest.fixture
def run(agree: Any) -> Callable[[Callable[[Any, Servicer], Any]], Any]:
    """Runs ``script(stub, servicer)`` over every channel, each with a servicer of its own."""

    def run(script: Callable[[Any, Servicer], Any], **options: Any) -> Any:
        servicers: list[Servicer] = []

        def populate(registrar: Any) -> None:
            servicers.append(Servicer())
            stubs.add_GreeterServiceServicer_to_server(servicers[-1], registrar)

        def on_channel(channel: grpc.Channel) -> Any:
            return script(stubs.GreeterServiceStub(channel), servicers[-1])

        return agree(populate, on_channel, **options)

    return run


def repeat(name: str, times: int = 0) -> pb.RepeatRequest:
    return pb.RepeatRequest(name=name, times=times)


def gather(*names: str) -> Iterator[pb.GatherRequest]:
    return (pb.GatherRequest(name=name) for name in names)


def read(call: Any) -> Any:
    messages: list[str] = []
    end = parity.told(lambda: messages.extend(each.message for each in call))
    return {"messages": messages, "end": end, "call": parity.ended(call)}


class TestResponses:
    @pytest.mark.parametrize(
        ("name", "times"), [("count", 0), ("count", 1), ("count", 50), ("list", 0), ("empty", 0)]
    )
    def test_arrive_all_and_in_order(self, run: Any, name: str, times: int) -> None:
        run(lambda stub, _: read(stub.Repeat(repeat(name, times), timeout=PATIENCE_SECONDS)))

    def test_end_with_a_none_as_in_grpcio(self, run: Any) -> None:
        outcome = run(lambda stub, _: read(stub.Repeat(repeat("none"), timeout=PATIENCE_SECONDS)))

        assert outcome["messages"] == ["before"]
        assert outcome["call"]["code"] == "OK"

    def test_that_are_no_messages_fail_the_call(self, run: Any) -> None:
        outcome = run(
            lambda stub, _: read(stub.Repeat(repeat("wrong"), timeout=PATIENCE_SECONDS)),
            over=parity.KERNEL,
        )

        assert outcome["messages"] == ["before"]
        assert outcome["call"]["code"] == "INTERNAL"

    def test_are_iterated_by_next_too_and_stay_at_their_end(self, run: Any) -> None:
        def script(stub: Any, _: Servicer) -> Any:
            call = stub.Repeat(repeat("count", 2), timeout=PATIENCE_SECONDS)
            return [next(call).message, next(call).message, next(call, "end"), next(call, "end")]

        assert run(script) == ["0", "1", "end", "end"]

    def test_that_failed_fail_again_when_asked_again(self, run: Any) -> None:
        def script(stub: Any, _: Servicer) -> Any:
            call = stub.Repeat(repeat("wrong"), timeout=PATIENCE_SECONDS)
            next(call)
            return [parity.told(lambda: next(call)) for _ in range(3)]

        run(script, over=parity.KERNEL)


class TestCancelling:
    def test_by_the_caller_ends_the_call_at_once_for_both(self, run: Any) -> None:
        def script(stub: Any, servicer: Servicer) -> Any:
            call = stub.Repeat(repeat("waiting"), timeout=PATIENCE_SECONDS)
            first = next(call).message
            cancelled = call.cancel()
            outcome = {
                "first": first,
                "cancelled": cancelled,
                "again": call.cancel(),
                "next": parity.told(lambda: next(call)),
                "call": parity.ended(call),
                "seen": servicer.seen.wait(PATIENCE_SECONDS),
                "active": servicer.context.is_active(),
                "late callback": servicer.context.add_callback(lambda: None),
            }
            servicer.go_on.set()
            return outcome

        outcome = run(script)

        assert outcome["call"]["code"] == "CANCELLED"
        assert outcome["seen"]
        assert not outcome["active"]

    def test_by_the_servicer_ends_the_call_for_its_caller(self, run: Any) -> None:
        def script(stub: Any, servicer: Servicer) -> Any:
            call = stub.Repeat(repeat("cancelling"), timeout=PATIENCE_SECONDS)
            first = [next(call).message, next(call).message]
            servicer.go_on.set()
            return {"first": first, "rest": read(call)}

        outcome = run(script)

        assert outcome["first"] == ["1", "2"]
        assert outcome["rest"]["call"]["code"] == "CANCELLED"

    def test_happens_when_nobody_holds_the_call_any_more(self, run: Any) -> None:
        def script(stub: Any, servicer: Servicer) -> Any:
            for _ in stub.Repeat(repeat("endless", 100_000), timeout=PATIENCE_SECONDS):
                break
            gc.collect()
            return servicer.seen.wait(PATIENCE_SECONDS)

        assert run(script)

    def test_reaches_a_servicer_that_waits_for_requests(self, run: Any) -> None:
        def script(stub: Any, servicer: Servicer) -> Any:
            stop = threading.Event()

            def requests() -> Iterator[pb.GatherRequest]:
                yield pb.GatherRequest(name="outwait")
                stop.wait(PATIENCE_SECONDS)

            future = stub.Gather.future(requests(), timeout=PATIENCE_SECONDS)
            servicer.started.wait(PATIENCE_SECONDS)
            future.cancel()
            outcome = {"seen": servicer.seen.wait(PATIENCE_SECONDS), "call": parity.ended(future)}
            stop.set()
            return outcome

        assert run(script)["seen"]


class TestDeadlines:
    def test_end_a_stream_while_its_servicer_works(self, run: Any) -> None:
        def script(stub: Any, servicer: Servicer) -> Any:
            call = stub.Repeat(repeat("waiting"), timeout=0.2)
            outcome = {"stream": read(call), "seen": servicer.seen.wait(PATIENCE_SECONDS)}
            servicer.go_on.set()
            return outcome

        outcome = run(script)

        assert outcome["stream"]["messages"] == ["first"]
        assert outcome["stream"]["call"]["code"] == "DEADLINE_EXCEEDED"

    # grpcio may still come through with no time at all, since it rounds up; the kernel does not try.
    @pytest.mark.parametrize(
        ("timeout", "over"), [(-1, parity.EVERY), (0, ("remote", "local", "shared"))]
    )
    def test_that_have_passed_end_every_kind_of_call(
        self, run: Any, timeout: float, over: Any
    ) -> None:
        def script(stub: Any, _: Servicer) -> Any:
            return [
                parity.told(lambda: stub.SayHello(pb.SayHelloRequest(), timeout=timeout)),
                read(stub.Repeat(repeat("count", 3), timeout=timeout)),
                parity.told(lambda: stub.Gather(gather("join"), timeout=timeout)),
                read(stub.Chat(iter([pb.ChatRequest()]), timeout=timeout)),
                parity.told(stub.SayHello.future(pb.SayHelloRequest(), timeout=timeout).result),
            ]

        run(script, over=over)


class TestRequests:
    @pytest.mark.parametrize("names", [(), ("join",), ("join", "a", "b"), ("join", *"x" * 60)])
    def test_arrive_all_and_in_order(self, run: Any, names: tuple[str, ...]) -> None:
        run(
            lambda stub, _: [
                stub.Gather(gather(*names), timeout=PATIENCE_SECONDS).message,
                stub.Gather.future(gather(*names), timeout=PATIENCE_SECONDS).result().message,
            ]
        )

    def test_may_be_empty_or_big(self, run: Any) -> None:
        outcome = run(
            lambda stub, _: (
                stub.Gather(
                    gather("sizes", "", "é" * MEGABYTE, ""), timeout=PATIENCE_SECONDS
                ).message
            )
        )

        assert outcome == str([0, MEGABYTE, 0])

    def test_need_not_be_read(self, run: Any) -> None:
        run(
            lambda stub, _: (
                stub.Gather(gather("ignore", "a", "b"), timeout=PATIENCE_SECONDS).message
            )
        )

    def test_are_over_for_a_servicer_that_has_answered(self, run: Any) -> None:
        def script(stub: Any, servicer: Servicer) -> Any:
            message = stub.Gather(gather("late", "a", "b"), timeout=PATIENCE_SECONDS).message
            return message, next(servicer.requests, "nothing")

        assert run(script) == ("ended", "nothing")

    @pytest.mark.parametrize(
        "make",
        [
            pytest.param(lambda _: [pb.ChatRequest(name="a")], id="a list"),
            pytest.param(lambda _: None, id="None"),
            pytest.param(lambda _: iter(["no message"]), id="no message"),
            pytest.param(lambda _: iter([None]), id="a None"),
            pytest.param(lambda failing: failing(), id="an iterator that raises"),
        ],
    )
    def test_that_are_none_fail_the_call(self, run: Any, make: Any) -> None:
        def failing() -> Iterator[Any]:
            yield from ()
            raise ValueError("private")

        def script(stub: Any, _: Servicer) -> Any:
            return {
                "unary": parity.told(
                    lambda: stub.Gather(make(failing), timeout=PATIENCE_SECONDS).message
                ),
                "future": parity.told(
                    lambda: stub.Gather.future(make(failing), timeout=PATIENCE_SECONDS).result()
                ),
                "stream": read(stub.Chat(make(failing), timeout=PATIENCE_SECONDS)),
            }

        outcome = run(script)

        assert outcome["unary"]["details"].startswith("Exception ")

    def test_and_responses_may_take_turns(self, run: Any) -> None:
        def script(stub: Any, _: Servicer) -> Any:
            heard: list[str] = []
            answered = threading.Semaphore(1)

            def requests() -> Iterator[pb.ChatRequest]:
                for number in range(20):
                    answered.acquire(timeout=PATIENCE_SECONDS)
                    yield pb.ChatRequest(name=f"{number} after {len(heard)}")

            for response in stub.Chat(requests(), timeout=PATIENCE_SECONDS):
                heard.append(response.message)
                answered.release()
            return heard

        assert run(script) == [f"{number} after {number}" for number in range(20)]


class TestBackPressure:
    def test_stops_a_servicer_whose_reader_is_slow(self, run: Any) -> None:
        def script(stub: Any, servicer: Servicer) -> Any:
            call = stub.Repeat(repeat("endless", MEGABYTE), timeout=PATIENCE_SECONDS)
            next(call)
            before = -1
            while servicer.produced != before:  # until it stands still
                before = servicer.produced
                threading.Event().wait(0.05)
            call.cancel()
            return before < 32

        assert run(script)

    def test_stops_a_caller_whose_servicer_is_slow(self, run: Any) -> None:
        def script(stub: Any, servicer: Servicer) -> Any:
            taken: list[int] = []

            def requests() -> Iterator[pb.GatherRequest]:
                yield pb.GatherRequest(name="slow")
                for number in range(64):
                    taken.append(number)
                    yield pb.GatherRequest(name="x" * MEGABYTE)

            future = stub.Gather.future(requests(), timeout=PATIENCE_SECONDS)
            before = -1
            while len(taken) != before or not taken:  # until it stands still
                before = len(taken)
                threading.Event().wait(0.05)
            servicer.go_on.set()
            return before < 32, future.result().message

        assert run(script) == (True, "did not read on")
