"""What the cases share: the example's contract, and why a case means nothing somewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as stubs

from portico.testing import parity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from portico.testing.transports import Stand

PATIENCE_SECONDS = 20
MEGABYTE = 2**20

NO_FUTURES = {"servicer": "a servicer alone has no futures"}
NO_DEADLINE = {"servicer": "nothing keeps a servicer's time when it is called as a function"}
NOT_GIVEN_UP = {"servicer": "a function that is called cannot be cancelled"}
READ_WHOLE = {
    "servicer": "called as a function, its stream is read to the end before anything else"
}
NO_CHANNEL = {"servicer": "it is what a channel does, and there is none"}
OWN_ITERATOR = {"servicer": "its requests are the caller's own iterator"}
NOT_LOOKED_AT = {"servicer": "nothing looks at what a function returns"}
NOT_COPIED = {"servicer": "nothing copies a message on its way to a function"}
SHARED = {"shared": "both sides have promised to change no message"}
UNWRAPPED = {"plain": "grpcio hands nothing of one call on to those made inside it"}
ROUNDED = dict.fromkeys(
    ("plain", "raw", "front"), "grpcio rounds a timeout up: with luck the call comes through"
)
NOT_OF_A_MODULE = dict.fromkeys(("raw", "front"), "no module of the application calls so")
OWN_RULES = {"plain": "it is the kernel's rule, of which grpcio has none"}
UNCHECKED = OWN_RULES | {"servicer": "nothing checks the request of a function"}
OWN_WORDS = {"plain": "the kernel says more about it than grpcio does"}


def populating(servicer_class: Callable[[], Any]) -> Callable[[Any], Any]:
    """Adds a servicer of that class."""

    def populate(registrar: Any) -> Any:
        servicer = servicer_class()
        stubs.add_GreeterServiceServicer_to_server(servicer, registrar)
        return servicer

    return populate


def greeter(stand: Stand) -> Any:
    """The stub of a client of the world outside."""
    return stubs.GreeterServiceStub(stand.channel)


def say(name: str = "") -> pb.SayHelloRequest:
    return pb.SayHelloRequest(name=name)


def repeat(name: str = "", times: int = 0) -> pb.RepeatRequest:
    return pb.RepeatRequest(name=name, times=times)


def gather(*names: str) -> Iterator[pb.GatherRequest]:
    return (pb.GatherRequest(name=name) for name in names)


def chat(*names: str) -> Iterator[pb.ChatRequest]:
    return (pb.ChatRequest(name=name) for name in names)


def read(call: Iterable[Any]) -> Any:
    """All of a stream of responses, and how it ended."""
    messages: list[str] = []
    end = parity.told(lambda: messages.extend(each.message for each in call))
    return {"messages": messages, "end": end, "call": parity.ended(call)}


def answered(response: Any, call: Any) -> Any:
    """What ``with_call`` gives."""
    return {"message": response.message, "call": parity.ended(call)}


def settled(future: Any) -> Any:
    """All that can be asked of a future that has ended, or soon will have."""
    return {
        "result": parity.told(lambda: future.result(timeout=PATIENCE_SECONDS).message),
        "exception": parity.told(lambda: _shown(future.exception(timeout=PATIENCE_SECONDS))),
        "traceback": parity.told(lambda: type(future.traceback()).__name__),
        "call": parity.ended(future),
        "late cancel": future.cancel(),
    }


def every_kind(stub: Any, name: str = "a") -> Any:
    """What a call of each kind answers, the streams in two messages."""
    return {
        "call": stub.SayHello(say(name), timeout=PATIENCE_SECONDS).message,
        "stream": [each.message for each in stub.Repeat(repeat(name, 2), timeout=PATIENCE_SECONDS)],
        "requests": stub.Gather(gather(name, name), timeout=PATIENCE_SECONDS).message,
        "both": [each.message for each in stub.Chat(chat(name, name), timeout=PATIENCE_SECONDS)],
    }


def _shown(error: Any) -> Any:
    return None if error is None else parity.failure(error)
