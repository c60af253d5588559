"""Servicers of streams: what arrives, who reads how far ahead, who stops first."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any

from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as stubs

from tests.placement.greeting import MEGABYTE, PATIENCE_SECONDS, populating

if TYPE_CHECKING:
    from collections.abc import Iterator


class Streaming(stubs.GreeterServiceServicer):
    """Streams of all kinds; ``seen`` is what a script may wait for."""

    def __init__(self) -> None:
        self.context: Any = None
        self.requests: Any = None
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
        """Keeps its requests for who wants to read them after the end."""
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


POPULATE = populating(Streaming)
