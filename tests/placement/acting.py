"""A servicer that does whatever a case wants of it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as stubs

from portico.testing.transports import MODULE
from tests.placement.greeting import greeter, populating

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portico.testing.transports import Stand


class Acting(stubs.GreeterServiceServicer):
    """Answers what ``act(request, context, self)`` returns; ``stub`` is how it calls on itself."""

    def __init__(self) -> None:
        self.act: Callable[[Any, Any, Acting], str] = lambda request, *_: str(request.name)
        self.stub: Any = None
        self.kept: Any = None
        self.started = threading.Event()
        self.event = threading.Event()

    def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
        response = pb.SayHelloResponse(message=self.act(request, context, self))
        if request.name == "keep the response":
            self.kept = response
        return response

    def Repeat(self, request: pb.RepeatRequest, context: Any) -> Iterator[pb.RepeatResponse]:
        for _ in range(request.times):
            yield pb.RepeatResponse(message=self.act(request, context, self))

    def Gather(self, request_iterator: Any, context: Any) -> pb.GatherResponse:
        return pb.GatherResponse(
            message=" ".join(self.act(each, context, self) for each in request_iterator)
        )

    def Chat(self, request_iterator: Any, context: Any) -> Iterator[pb.ChatResponse]:
        for request in request_iterator:
            yield pb.ChatResponse(message=self.act(request, context, self))


POPULATE = populating(Acting)


def acted(stand: Stand, act: Callable[[Any, Any, Acting], str]) -> Any:
    """The stub of a client, whose servicer does ``act`` and calls on itself over the same transport."""
    stand.servicer.act = act
    stand.servicer.stub = stubs.GreeterServiceStub(stand.channel_of(MODULE))
    return greeter(stand)
