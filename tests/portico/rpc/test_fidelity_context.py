"""What a servicer can rely on: its context, its time, its isolation from caller and neighbours."""

from __future__ import annotations

import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as stubs

from portico.testing import parity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_SECONDS = 20
COPYING: tuple[parity.Transport, ...] = ("plain", "raw", "remote", "local")

_var: contextvars.ContextVar[str] = contextvars.ContextVar("test_var", default="unset")


class Servicer(stubs.GreeterServiceServicer):
    """Runs ``act(request, context, self)`` for its answer; ``stub`` is over the channel under test."""

    def __init__(self, act: Callable[[Any, Any, Servicer], str]) -> None:
        self._act = act
        self.stub: Any = None
        self.kept: Any = None
        self.event = threading.Event()

    def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
        response = pb.SayHelloResponse(message=self._act(request, context, self))
        if request.name == "keep the response":
            self.kept = response
        return response

    def Repeat(self, request: pb.RepeatRequest, context: Any) -> Iterator[pb.RepeatResponse]:
        for _ in range(request.times):
            yield pb.RepeatResponse(message=self._act(request, context, self))

    def Gather(self, request_iterator: Any, context: Any) -> pb.GatherResponse:
        return pb.GatherResponse(
            message=" ".join(self._act(each, context, self) for each in request_iterator)
        )

    def Chat(self, request_iterator: Any, context: Any) -> Iterator[pb.ChatResponse]:
        for request in request_iterator:
            yield pb.ChatResponse(message=self._act(request, context, self))


@pytest.fixture
def run(agree: Any) -> Any:
    """Runs ``script(stub, servicer)`` over every channel, each with a servicer that does ``act``."""

    def run(
        act: Callable[[Any, Any, Servicer], str],
        script: Callable[[Any, Servicer], Any],
        **options: Any,
    ) -> Any:
        servicers: list[Servicer] = []

        def populate(registrar: Any) -> None:
            servicers.append(Servicer(act))
            stubs.add_GreeterServiceServicer_to_server(servicers[-1], registrar)

        def on_channel(channel: grpc.Channel) -> Any:
            servicers[-1].stub = stubs.GreeterServiceStub(channel)
            return script(servicers[-1].stub, servicers[-1])

        return agree(populate, on_channel, **options)

    return run


def every_kind(stub: Any, name: str = "a") -> Any:
    return [
        stub.SayHello(pb.SayHelloRequest(name=name), timeout=PATIENCE_SECONDS).message,
        stub.SayHello.future(pb.SayHelloRequest(name=name), timeout=PATIENCE_SECONDS)
        .result()
        .message,
        [
            each.message
            for each in stub.Repeat(pb.RepeatRequest(name=name, times=2), timeout=PATIENCE_SECONDS)
        ],
        stub.Gather(iter([pb.GatherRequest(name=name)] * 2), timeout=PATIENCE_SECONDS).message,
        [
            each.message
            for each in stub.Chat(iter([pb.ChatRequest(name=name)] * 2), timeout=PATIENCE_SECONDS)
        ],
    ]


class TestItsContext:
    def test_is_active_until_the_end_and_not_after(self, run: Any) -> None:
        def act(request: Any, context: Any, servicer: Servicer) -> str:
            servicer.kept = context
            context.add_callback(servicer.event.set)
            return str(context.is_active())

        def script(stub: Any, servicer: Servicer) -> Any:
            before = stub.SayHello(pb.SayHelloRequest(), timeout=PATIENCE_SECONDS).message
            ended = servicer.event.wait(PATIENCE_SECONDS)
            return before, ended, servicer.kept.is_active(), servicer.kept.add_callback(print)

        assert run(act, script) == ("True", True, False, False)

    def test_calls_all_callbacks_though_one_raises(self, run: Any) -> None:
        def act(request: Any, context: Any, servicer: Servicer) -> str:
            return str(
                [
                    context.add_callback(lambda: 1 / 0),
                    context.add_callback(servicer.event.set),
                ]
            )

        def script(stub: Any, servicer: Servicer) -> Any:
            message = stub.SayHello(pb.SayHelloRequest(), timeout=PATIENCE_SECONDS).message
            return message, servicer.event.wait(PATIENCE_SECONDS)

        assert run(act, script) == ("[True, True]", True)

    def test_knows_how_much_time_is_left(self, run: Any) -> None:
        def act(request: Any, context: Any, servicer: Servicer) -> str:
            left = context.time_remaining()
            return "enough" if 0 < left <= 2 * PATIENCE_SECONDS else f"{left}"

        run(act, lambda stub, _: every_kind(stub))

    def test_tells_what_has_been_set_on_it(self, run: Any) -> None:
        def act(request: Any, context: Any, servicer: Servicer) -> str:
            fresh = context.code(), context.details(), context.trailing_metadata()
            context.set_code(grpc.StatusCode.OK)
            return f"{fresh} {context.code()}"

        run(act, lambda stub, _: every_kind(stub))


class TestIsolation:
    def test_context_variables_cross_in_neither_direction(self, run: Any) -> None:
        def act(request: Any, context: Any, servicer: Servicer) -> str:
            found = _var.get()
            _var.set("the servicer's")
            return found

        def script(stub: Any, _: Servicer) -> Any:
            token = _var.set("the caller's")
            try:
                return every_kind(stub), _var.get()
            finally:
                _var.reset(token)

        seen, own = run(act, script)

        assert seen[0] == "unset"
        assert own == "the caller's"

    def test_context_variables_live_as_long_as_a_stream(self, run: Any) -> None:
        def act(request: Any, context: Any, servicer: Servicer) -> str:
            found = _var.get()
            _var.set(found + "+")
            return found

        def script(stub: Any, _: Servicer) -> Any:
            call = stub.Repeat(pb.RepeatRequest(times=3), timeout=PATIENCE_SECONDS)
            return [each.message for each in call]

        assert run(act, script) == ["unset", "unset+", "unset++"]

    def test_a_request_that_its_servicer_changes_stays_as_it_was(self, run: Any) -> None:
        def act(request: Any, context: Any, servicer: Servicer) -> str:
            request.name += " changed"
            return str(request.name)

        def script(stub: Any, _: Servicer) -> Any:
            request = pb.SayHelloRequest(name="mine")
            messages = [
                stub.SayHello(request, timeout=PATIENCE_SECONDS).message,
                stub.SayHello.with_call(request, timeout=PATIENCE_SECONDS)[0].message,
                stub.SayHello.future(request, timeout=PATIENCE_SECONDS).result().message,
            ]
            gathered = pb.GatherRequest(name="mine")
            messages.append(stub.Gather(iter([gathered]), timeout=PATIENCE_SECONDS).message)
            return messages, request.name, gathered.name

        assert run(act, script, over=COPYING) == (["mine changed"] * 4, "mine", "mine")

    def test_a_request_that_its_caller_changes_stays_as_it_was_sent(self, run: Any) -> None:
        def act(request: Any, context: Any, servicer: Servicer) -> str:
            servicer.event.wait(PATIENCE_SECONDS)
            return str(request.name)

        def script(stub: Any, servicer: Servicer) -> Any:
            request = pb.SayHelloRequest(name="mine")
            future = stub.SayHello.future(request, timeout=PATIENCE_SECONDS)
            request.name = "changed"
            servicer.event.set()
            return future.result().message

        assert run(act, script, over=COPYING) == "mine"

    def test_a_response_that_either_side_changes_stays_as_it_was(self, run: Any) -> None:
        def script(stub: Any, servicer: Servicer) -> Any:
            request = pb.SayHelloRequest(name="keep the response")
            first = stub.SayHello(request, timeout=PATIENCE_SECONDS)
            kept = servicer.kept
            first.message += " by the caller"
            after_caller = kept.message
            kept.message += " by the servicer"
            return after_caller, first.message

        outcome = run(lambda *_: "it", script, over=COPYING)

        assert outcome == ("it", "it by the caller")


class TestCallsInsideCalls:
    def test_may_come_back_to_the_same_servicer(self, run: Any) -> None:
        def act(request: Any, context: Any, servicer: Servicer) -> str:
            depth = int(request.name)
            if depth == 0:
                return "bottom"
            inner = servicer.stub.SayHello(
                pb.SayHelloRequest(name=str(depth - 1)), timeout=PATIENCE_SECONDS
            )
            return f"{depth} {inner.message}"

        def script(stub: Any, _: Servicer) -> Any:
            return stub.SayHello(pb.SayHelloRequest(name="5"), timeout=PATIENCE_SECONDS).message

        assert run(act, script) == "5 4 3 2 1 bottom"

    def test_have_no_more_time_than_the_call_around_them(self, run: Any) -> None:
        def act(request: Any, context: Any, servicer: Servicer) -> str:
            if request.name == "inner":
                left = context.time_remaining()
                return "no more" if left is not None and left <= 6 else f"{left} s"
            inner = pb.SayHelloRequest(name="inner")
            answers = (
                servicer.stub.SayHello(inner),
                servicer.stub.SayHello(inner, timeout=60),
                servicer.stub.SayHello.future(inner, timeout=60).result(),
                next(servicer.stub.Repeat(pb.RepeatRequest(name="inner", times=1), timeout=60)),
            )
            return " ".join(each.message for each in answers)

        def script(stub: Any, _: Servicer) -> Any:
            return stub.SayHello(pb.SayHelloRequest(), timeout=5).message

        assert run(act, script, over=("remote", "local", "shared")) == " ".join(["no more"] * 4)

    def test_fail_at_once_when_the_time_of_the_call_around_them_is_up(self, run: Any) -> None:
        reached = []

        def act(request: Any, context: Any, servicer: Servicer) -> str:
            if request.name == "inner":
                reached.append(request)
                return ""
            while context.time_remaining() > 0:
                threading.Event().wait(0.01)
            return str(
                parity.told(lambda: servicer.stub.SayHello(pb.SayHelloRequest(name="inner")))
            )

        def script(stub: Any, _: Servicer) -> Any:
            return parity.told(lambda: stub.SayHello(pb.SayHelloRequest(), timeout=0.1).message)

        outcome = run(act, script, over=("remote", "local", "shared"))

        assert outcome["code"] == "DEADLINE_EXCEEDED"
        assert reached == []

    def test_are_cancelled_with_the_call_around_them(self, run: Any) -> None:
        def act(request: Any, context: Any, servicer: Servicer) -> str:
            if request.name == "inner":
                context.add_callback(servicer.event.set)
                servicer.event.wait(PATIENCE_SECONDS)
                return ""
            call = servicer.stub.Repeat(pb.RepeatRequest(name="inner", times=1))
            servicer.kept = call
            return str(parity.told(lambda: next(call).message))

        def script(stub: Any, servicer: Servicer) -> Any:
            future = stub.SayHello.future(pb.SayHelloRequest(), timeout=PATIENCE_SECONDS)
            while servicer.kept is None:
                threading.Event().wait(0.01)
            future.cancel()
            return servicer.event.wait(PATIENCE_SECONDS), servicer.kept.code().name

        assert run(act, script, over=("remote", "local", "shared")) == (True, "CANCELLED")

    def test_hand_an_error_on_that_nobody_catches(self, run: Any) -> None:
        def act(request: Any, context: Any, servicer: Servicer) -> str:
            if request.name == "inner":
                context.set_trailing_metadata((("inner", "1"),))
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "from far below")
            context.set_trailing_metadata((("outer", "1"),))
            return str(servicer.stub.SayHello(pb.SayHelloRequest(name="inner")).message)

        def script(stub: Any, _: Servicer) -> Any:
            return parity.told(lambda: stub.SayHello(pb.SayHelloRequest(), timeout=5).message)

        outcome = run(act, script, over=("remote", "local", "shared"))

        assert (outcome["code"], outcome["details"]) == ("RESOURCE_EXHAUSTED", "from far below")
        assert outcome["trailing"] == [("outer", "1")]


def test_fifty_calls_at_once_do_not_mix_up(run: Any) -> None:
    def act(request: Any, context: Any, servicer: Servicer) -> str:
        return f"for {request.name}"

    def script(stub: Any, _: Servicer) -> Any:
        with ThreadPoolExecutor(50) as pool:
            return list(pool.map(lambda number: every_kind(stub, str(number)), range(50)))

    outcome = run(act, script)

    assert outcome[7][0] == "for 7"
    assert outcome[7][4] == ["for 7", "for 7"]
