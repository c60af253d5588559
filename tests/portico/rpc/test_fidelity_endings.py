"""How a call ends, whatever its kind and however far it had got: the same over every channel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as stubs

from portico import errors
from portico.rpc.policy import Policy
from portico.testing import parity

Act = Callable[[Any], Any]
Code = grpc.StatusCode


@dataclass
class _Status(grpc.Status):
    code: grpc.StatusCode
    details: str
    trailing_metadata: Any


def _swallowed(context: Any, error: type[Exception] | None = None) -> None:
    try:
        context.abort(Code.NOT_FOUND, "swallowed")
    except Exception as aborted:
        if error is not None:
            raise error("after the abort") from aborted


def _set(context: Any, code: Any, details: Any = None) -> None:
    context.set_code(code)
    if details is not None:
        context.set_details(details)


def _raise(error: BaseException) -> Any:
    raise error


def _set_and_raise(context: Any) -> None:
    _set(context, Code.NOT_FOUND, "set before")
    raise ValueError("private")


def _cancel_and_raise(context: Any) -> None:
    context.cancel()
    raise ValueError("private")


def _trailers_and_abort(context: Any) -> None:
    context.set_trailing_metadata((("key", "1"), ("key", "2"), ("other-bin", b"\x00\xff")))
    context.abort(Code.ABORTED, "with trailers")


# What plain grpcio does too. Each ends a call that would otherwise succeed.
PLAIN: dict[str, Act] = {
    "nothing": lambda _: None,
    "abort": lambda context: context.abort(Code.NOT_FOUND, "gone"),
    "abort without details": lambda context: context.abort(Code.ABORTED, ""),
    "abort with text of all kinds": lambda context: context.abort(Code.ABORTED, "é € 😀 \n % \x7f"),
    "abort with OK": lambda context: context.abort(Code.OK, "not so"),
    "abort with trailers": _trailers_and_abort,
    "abort_with_status": lambda context: context.abort_with_status(
        _Status(Code.ABORTED, "whole", (("key", "value"),))
    ),
    "abort_with_status without trailers": lambda context: context.abort_with_status(
        _Status(Code.ABORTED, "whole", None)
    ),
    "abort_with_status and OK": lambda context: context.abort_with_status(
        _Status(Code.OK, "whole", None)
    ),
    "abort, swallowed": _swallowed,
    "abort, swallowed, and an exception": lambda context: _swallowed(context, ValueError),
    "set_code": lambda context: _set(context, Code.NOT_FOUND),
    "set_code and set_details": lambda context: _set(context, Code.NOT_FOUND, "told"),
    "set_code and details in bytes": lambda context: _set(context, Code.NOT_FOUND, b"told"),
    "set_code with a number": lambda context: _set(context, 5, "told"),
    "set_code with OK": lambda context: _set(context, Code.OK, "fine"),
    "set_details alone": lambda context: context.set_details("fine"),
    "set_code, set_details and an exception": _set_and_raise,
    "cancel": lambda context: context.cancel(),
    "cancel and an exception": _cancel_and_raise,
}

# Where the kernel tells more than grpcio, which says UNKNOWN and what the exception says.
TYPED = errors.not_found(
    "PRODUCT_NOT_FOUND",
    "there is no prod_1",
    violations=[errors.Violation("items[0].product_id", "does not exist", "id.unknown")],
    product_id="prod_1",
    attempts=2,
)
OF_THE_KERNEL: dict[str, Act] = {
    "an unknown exception": lambda _: _raise(KeyError("private")),
    "SystemExit": lambda _: _raise(SystemExit(3)),
    "an exception after set_details": lambda context: [
        context.set_details("told"),
        _raise(ValueError("private")),
    ],
    "an exception after set_code": lambda context: [
        context.set_code(Code.NOT_FOUND),
        _raise(ValueError("private")),
    ],
    "a typed error": lambda _: _raise(TYPED),
    "a typed error of another domain": lambda _: _raise(
        errors.StatusError(Code.ABORTED, "theirs", reason="BUSY", domain="other.v1")
    ),
    "a plain status": lambda _: _raise(errors.StatusError(Code.DATA_LOSS, "lost")),
    "a bare RpcError": lambda _: _raise(grpc.RpcError("private")),
    "a typed error with trailers": lambda context: [
        context.set_trailing_metadata((("key", "value"),)),
        _raise(TYPED),
    ],
    "a message that is half a surrogate pair": lambda _: _raise(
        errors.internal("ODD", "\ud800 is no text")
    ),
    "details that are too long for trailers": lambda _: _raise(
        errors.invalid_argument(
            "MANY",
            "€" * 5000,
            violations=[errors.Violation(f"f[{n}]", "ä" * 99, "r") for n in range(500)],
            fact="x" * 9000,
        )
    ),
    "trailers that cannot travel": lambda context: context.set_trailing_metadata((("Ä", "1"),)),
    "trailers of the wrong type": lambda context: context.set_trailing_metadata((("a", 1),)),
}

KINDS = ("SayHello", "Repeat", "Gather", "Chat")
STREAMED = ("Repeat", "Chat")


class Servicer(stubs.GreeterServiceServicer):
    """Says what is asked, and does ``act`` at one moment of it."""

    def __init__(self) -> None:
        self.act: Act = PLAIN["nothing"]
        self.moment = "at once"

    def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
        self._up_to_headers(context)
        return pb.SayHelloResponse(message=request.name)

    def Repeat(self, request: pb.RepeatRequest, context: Any) -> Iterator[pb.RepeatResponse]:
        self._up_to_headers(context)
        for number in range(4):
            if number == 2:
                self._at("after messages", context)
            yield pb.RepeatResponse(message=f"{request.name} {number}")
        self._at("after all messages", context)

    def Gather(self, request_iterator: Any, context: Any) -> pb.GatherResponse:
        self._up_to_headers(context)
        return pb.GatherResponse(message=" ".join(each.name for each in request_iterator))

    def Chat(self, request_iterator: Any, context: Any) -> Iterator[pb.ChatResponse]:
        self._up_to_headers(context)
        for number, request in enumerate(request_iterator):
            if number == 2:
                self._at("after messages", context)
            yield pb.ChatResponse(message=request.name)
        self._at("after all messages", context)

    def _up_to_headers(self, context: Any) -> None:
        self._at("at once", context)
        if self.moment == "after headers":
            context.send_initial_metadata((("head", "1"), ("head", "2"), ("head-bin", b"\x01")))
            self._at("after headers", context)

    def _at(self, moment: str, context: Any) -> None:
        if moment == self.moment:
            self.act(context)


def _script(kind: str) -> Callable[[grpc.Channel], Any]:
    requests: dict[str, Callable[[], Any]] = {
        "SayHello": lambda: pb.SayHelloRequest(name="you"),
        "Repeat": lambda: pb.RepeatRequest(name="you"),
        "Gather": lambda: iter([pb.GatherRequest(name="a"), pb.GatherRequest(name="b")]),
        "Chat": lambda: (pb.ChatRequest(name=str(number)) for number in range(4)),
    }

    def script(channel: grpc.Channel) -> Any:
        method = getattr(stubs.GreeterServiceStub(channel), kind)
        if kind in STREAMED:
            return _read(method(requests[kind](), timeout=20))
        return {
            "call": parity.told(lambda: method(requests[kind](), timeout=20).message),
            "with_call": parity.told(
                lambda: _answered(*method.with_call(requests[kind](), timeout=20))
            ),
            "future": _settled(method.future(requests[kind](), timeout=20)),
        }

    return script


def _read(call: Any) -> Any:
    messages: list[str] = []
    end = parity.told(lambda: messages.extend(each.message for each in call))
    return {"messages": messages, "end": end, "call": parity.ended(call)}


def _answered(response: Any, call: Any) -> Any:
    return {"message": response.message, "call": parity.ended(call)}


def _settled(future: Any) -> Any:
    result = parity.told(lambda: future.result(timeout=20).message)
    return {"result": result, "call": parity.ended(future)}


def _moments(kind: str) -> tuple[str, ...]:
    always = ("at once", "after headers")
    return (*always, "after messages", "after all messages") if kind in STREAMED else always


CASES = [(kind, moment) for kind in KINDS for moment in _moments(kind)]
# A reset of a stream may overtake what was sent before it: on a socket that is a matter of chance.
PLAIN_CASES = [
    (kind, moment, ending)
    for kind, moment in CASES
    for ending in PLAIN
    if moment == "at once" or not ending.startswith("cancel")
]


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[Servicer, dict[parity.Transport, grpc.Channel]]]:
    """One servicer behind every channel: several hundred cases need no servers of their own."""
    servicer = Servicer()

    def populate(registrar: Any) -> None:
        stubs.add_GreeterServiceServicer_to_server(servicer, registrar)

    with ExitStack() as stack:
        yield (
            servicer,
            {
                transport: stack.enter_context(parity.opened(transport, populate, policy=Policy()))
                for transport in parity.EVERY
            },
        )


@pytest.fixture
def ended(stage: Any) -> Any:
    """Makes calls of a kind end by an act at a moment, over every channel; the common outcome."""
    servicer, channels = stage

    def ended(
        act: Act, moment: str, kind: str, *, over: tuple[parity.Transport, ...] = parity.EVERY
    ) -> Any:
        servicer.act, servicer.moment = act, moment
        found = {transport: _script(kind)(channels[transport]) for transport in over}
        differences = parity.differences(found)
        assert not differences, "\n".join(differences)
        return next(iter(found.values()))

    return ended


@pytest.mark.parametrize(("kind", "moment", "ending"), PLAIN_CASES)
def test_a_servicer_of_plain_grpcio_ends_its_calls_the_same_way(
    ended: Any, kind: str, moment: str, ending: str
) -> None:
    ended(PLAIN[ending], moment, kind)


@pytest.mark.parametrize(("kind", "moment"), CASES)
@pytest.mark.parametrize("ending", OF_THE_KERNEL)
def test_an_error_of_the_kernel_arrives_the_same_way(
    ended: Any, kind: str, moment: str, ending: str
) -> None:
    ended(OF_THE_KERNEL[ending], moment, kind, over=parity.KERNEL)


def test_a_typed_error_arrives_whole(ended: Any) -> None:
    outcome = ended(
        OF_THE_KERNEL["a typed error with trailers"],
        "after headers",
        "SayHello",
        over=parity.KERNEL,
    )

    error = outcome["call"]
    assert (error["code"], error["details"]) == ("NOT_FOUND", "there is no prod_1")
    assert (error["reason"], error["domain"]) == ("PRODUCT_NOT_FOUND", "examples.greeter.v1")
    assert error["metadata"] == {"product_id": "prod_1", "attempts": "2"}
    assert error["violations"] == [("items[0].product_id", "does not exist", "id.unknown")]
    assert error["initial"] == [("head", "1"), ("head", "2"), ("head-bin", b"\x01")]
    assert error["trailing"][0] == ("key", "value")


def test_an_unknown_exception_keeps_its_text_to_itself(ended: Any) -> None:
    outcome = ended(
        OF_THE_KERNEL["an unknown exception"], "at once", "SayHello", over=parity.KERNEL
    )

    assert outcome["call"]["code"] == "INTERNAL"
    assert outcome["call"]["details"] == "something went wrong on our side; error id <id>"
    assert "private" not in repr(outcome)


def test_what_is_too_long_for_trailers_is_cut_and_still_arrives(ended: Any) -> None:
    outcome = ended(
        OF_THE_KERNEL["details that are too long for trailers"],
        "at once",
        "SayHello",
        over=parity.KERNEL,
    )

    error = outcome["call"]
    assert error["code"] == "INVALID_ARGUMENT"
    assert error["details"].endswith("€…")
    assert error["violations"][0][0] == "f[0]"
    assert error["violations"][-1][1].startswith("and ")
