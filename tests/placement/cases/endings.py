"""How a call ends, whatever its kind and however far it had got."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as stubs

from portico.testing import parity
from portico.testing.cases import Group
from tests.placement.ending import OF_THE_KERNEL, PLAIN, SAID, Act
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
