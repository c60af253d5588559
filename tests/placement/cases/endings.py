"""How a call ends, whatever its kind and however far it had got."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as stubs

from portico import errors
from portico.testing import parity
from portico.testing.cases import Group
from tests.placement.greeting import (
    NO_FUTURES,
    OWN_WORDS,
    PATIENCE_SECONDS,
    answered,
    chat,
    gather,
    greeter,
    populating,
    read,
    repeat,
    say,
    settled,
)

if TYPE_CHECKING:
    from portico.testing.cases import Script
    from portico.testing.transports import Stand

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

# What the outcome must say, whatever the transports agree on: of a unary call that fails at once.
SAID: dict[str, dict[str, Any]] = {
    "nothing": {"value.message": "you", "value.call.code": "OK"},
    "abort": {"code": "NOT_FOUND", "details": "gone", "reason": ""},
    "abort with trailers": {"code": "ABORTED", "trailing[1]": ("key", "2")},
    "cancel": {"code": "CANCELLED"},
    "an unknown exception": {
        "code": "INTERNAL",
        "details": "something went wrong on our side; error id <id>",
        "metadata.error_id": "<id>",
    },
    "a typed error with trailers": {
        "code": "NOT_FOUND",
        "details": "there is no prod_1",
        "reason": "PRODUCT_NOT_FOUND",
        "domain": "examples.greeter.v1",
        "metadata.product_id": "prod_1",
        "metadata.attempts": "2",
        "violations[0]": ("items[0].product_id", "does not exist", "id.unknown"),
        "trailing[0]": ("key", "value"),
    },
    "details that are too long for trailers": {"code": "INVALID_ARGUMENT", "reason": "MANY"},
}


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


def _calls(name: str) -> dict[str, Callable[[Any], Any]]:
    """The ways to call a method that answers once."""

    def requests() -> Any:
        return say("you") if name == "SayHello" else gather("a", "b")

    return {
        name: lambda stub: parity.told(
            lambda: getattr(stub, name)(requests(), timeout=PATIENCE_SECONDS).message
        ),
        f"{name}.with_call": lambda stub: parity.told(
            lambda: answered(*getattr(stub, name).with_call(requests(), timeout=PATIENCE_SECONDS))
        ),
        f"{name}.future": lambda stub: settled(
            getattr(stub, name).future(requests(), timeout=PATIENCE_SECONDS)
        ),
    }


CALLS: dict[str, Callable[[Any], Any]] = {
    **_calls("SayHello"),
    **_calls("Gather"),
    "Repeat": lambda stub: read(stub.Repeat(repeat("you"), timeout=PATIENCE_SECONDS)),
    "Chat": lambda stub: read(stub.Chat(chat("0", "1", "2", "3"), timeout=PATIENCE_SECONDS)),
}
STREAMED = ("Repeat", "Chat")
MOMENTS = ("at once", "after headers", "after messages", "after all messages")


def _script(call: Callable[[Any], Any], moment: str, act: Act) -> Script:
    def script(stand: Stand) -> Any:
        stand.servicer.act, stand.servicer.moment = act, moment
        return call(greeter(stand))

    return script


def _filled(acts: dict[str, Act], what: str, without: dict[str, str]) -> Iterator[Group]:
    """A group for each moment; one servicer for all."""
    for moment in MOMENTS:
        group = Group(name=f"{what} {moment}", populate=POPULATE, stay=True, without=without)
        for name, call in CALLS.items():
            if moment in MOMENTS[2:] and name not in STREAMED:
                continue
            for ending, act in acts.items():
                # A reset of a stream may overtake what was sent before it: a socket's matter of chance.
                if ending.startswith("cancel") and moment != "at once":
                    continue
                told = name == "SayHello.with_call" and moment == "at once"
                group.add(
                    f"{name}, {ending}",
                    _script(call, moment, act),
                    expects=SAID.get(ending) if told else None,
                    without=NO_FUTURES if name.endswith("future") else None,
                )
        yield group


POPULATE = populating(Servicer)
GROUPS = [*_filled(PLAIN, "ends", {}), *_filled(OF_THE_KERNEL, "errors", OWN_WORDS)]
