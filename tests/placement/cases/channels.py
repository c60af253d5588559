"""Channels themselves, and contracts of every sort: generic handlers, proto2, unknown methods."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import grpc
from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as stubs
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from portico.testing import parity
from portico.testing.cases import Group
from tests.placement.greeting import (
    MEGABYTE,
    NO_CHANNEL,
    NO_FUTURES,
    PATIENCE_SECONDS,
    chat,
    gather,
    greeter,
    populating,
    repeat,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portico.testing.cases import Script
    from portico.testing.transports import Stand

LABEL = descriptor_pb2.FieldDescriptorProto


def _proto2_class(name: str) -> Any:
    """A message with a required field, and one that has such a message inside."""
    file = descriptor_pb2.FileDescriptorProto(
        name="planted/proto2.proto", package="planted.proto2", syntax="proto2"
    )
    part = file.message_type.add(name="Part")
    part.field.add(name="number", number=1, type=LABEL.TYPE_INT32, label=LABEL.LABEL_REQUIRED)
    whole = file.message_type.add(name="Whole")
    whole.field.add(
        name="part",
        number=1,
        type=LABEL.TYPE_MESSAGE,
        type_name=".planted.proto2.Part",
        label=LABEL.LABEL_OPTIONAL,
    )
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"planted.proto2.{name}"))


class Servicer(stubs.GreeterServiceServicer):
    """Echoes; on "wait" it waits."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.started = threading.Event()

    def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
        self._act(request.name)
        return pb.SayHelloResponse(message=request.name)

    def Repeat(self, request: pb.RepeatRequest, context: Any) -> Iterator[pb.RepeatResponse]:
        self._act(request.name)
        yield pb.RepeatResponse(message=request.name)

    def Gather(self, request_iterator: Any, context: Any) -> pb.GatherResponse:
        return pb.GatherResponse(message=" ".join(each.name for each in request_iterator))

    def Chat(self, request_iterator: Any, context: Any) -> Iterator[pb.ChatResponse]:
        for request in request_iterator:
            yield pb.ChatResponse(message=request.name)

    def _act(self, name: str) -> None:
        if name == "wait":
            self.started.set()
            self.go_on.wait(PATIENCE_SECONDS)


WHOLE = _proto2_class("Whole")


def _failing(data: bytes) -> Any:
    raise ValueError("private")


def _populate_generic(registrar: Any) -> None:
    """Handlers without a contract: bytes, text, and a deserializer that fails."""
    handlers: dict[str, Any] = {
        "Unary": grpc.unary_unary_rpc_method_handler(lambda request, _: request[::-1]),
        "Stream": grpc.unary_stream_rpc_method_handler(lambda request, _: iter([request, request])),
        "Requests": grpc.stream_unary_rpc_method_handler(lambda requests, _: b"".join(requests)),
        "Both": grpc.stream_stream_rpc_method_handler(lambda requests, _: requests),
        "None": grpc.unary_unary_rpc_method_handler(lambda _request, _: None),
        "Text": grpc.unary_unary_rpc_method_handler(
            lambda request, _: request.upper(),
            request_deserializer=lambda data: data.decode(),
            response_serializer=lambda text: text.encode(),
        ),
        "Failing": grpc.unary_unary_rpc_method_handler(
            lambda request, _: request, request_deserializer=_failing
        ),
        "Echo": grpc.unary_unary_rpc_method_handler(
            lambda request, _: request,
            request_deserializer=WHOLE.FromString,
            response_serializer=WHOLE.SerializeToString,
        ),
        "Forget": grpc.unary_unary_rpc_method_handler(
            lambda _request, _: WHOLE(part={}),
            request_deserializer=WHOLE.FromString,
            response_serializer=WHOLE.SerializeToString,
        ),
    }
    generic = grpc.method_handlers_generic_handler("planted.Generic", handlers)
    registrar.add_generic_rpc_handlers((generic,))


def _populate_base(registrar: Any) -> None:
    """A servicer that left every method as the generated class has it."""
    base: Any = stubs.GreeterServiceServicer
    stubs.add_GreeterServiceServicer_to_server(base(), registrar)


POPULATE = populating(Servicer)
NOT_CONVERTED = {"servicer": "nothing converts a message on its way to a function"}
channels = Group(name="channels", populate=POPULATE, without=NO_CHANNEL)
unknown = Group(name="unknown methods", populate=POPULATE, stay=True, without=NO_CHANNEL)
left_out = Group(name="methods left out", populate=_populate_base)
messages = Group(name="messages", populate=POPULATE, stay=True)
generic = Group(
    name="generic handlers", populate=_populate_generic, stay=True, without=NOT_CONVERTED
)
GROUPS = [channels, unknown, left_out, messages, generic]


def _of_the_client(stand: Stand) -> Any:
    return stubs.GreeterServiceStub(stand.client)


@channels.case(expects={"[0].raised": "ValueError", "[5].raised": "ValueError"})
def refuse_calls_once_closed(stand: Stand) -> Any:
    stub = _of_the_client(stand)
    stub.SayHello(say(), timeout=PATIENCE_SECONDS)
    stand.client.close()
    return [
        parity.told(lambda: stub.SayHello(say(), timeout=1)),
        parity.told(lambda: stub.SayHello.with_call(say(), timeout=1)),
        parity.told(lambda: stub.SayHello.future(say(), timeout=1)),
        parity.told(lambda: stub.Repeat(repeat(), timeout=1)),
        parity.told(lambda: stub.Gather(gather(), timeout=1)),
        parity.told(lambda: stub.Chat(chat(), timeout=1)),
    ]


@channels.case(expects={"future.details": "Channel closed!"})
def end_what_is_under_way_when_they_close(stand: Stand) -> Any:
    stub = _of_the_client(stand)
    future = stub.SayHello.future(say("wait"), timeout=PATIENCE_SECONDS)
    stand.servicer.started.wait(PATIENCE_SECONDS)
    stream = stub.Repeat(repeat("wait"), timeout=PATIENCE_SECONDS)
    stand.client.close()
    outcome = {
        "future": parity.told(lambda: future.result(timeout=PATIENCE_SECONDS)),
        "call": parity.ended(future),
        "stream": parity.told(lambda: next(stream)),
        "again": parity.told(stand.client.close),
    }
    stand.servicer.go_on.set()
    return outcome


@channels.case(expects={"": (True, None)})
def get_ready_and_say_so(stand: Stand) -> Any:
    ready = threading.Event()

    def listen(state: grpc.ChannelConnectivity) -> None:
        if state is grpc.ChannelConnectivity.READY:
            ready.set()

    stand.client.subscribe(listen, try_to_connect=True)
    heard = ready.wait(PATIENCE_SECONDS)
    stand.client.unsubscribe(listen)
    future = grpc.channel_ready_future(stand.client)
    return heard, future.result(timeout=PATIENCE_SECONDS)


@channels.case(expects={"": "a"})
def outlive_a_listener_that_raises(stand: Stand) -> Any:
    def listen(_: grpc.ChannelConnectivity) -> None:
        raise ZeroDivisionError

    stand.client.subscribe(listen, try_to_connect=True)
    return _of_the_client(stand).SayHello(say("a"), timeout=PATIENCE_SECONDS).message


@channels.case(expects={"": (True, {"raised": "ValueError"})})
def are_closed_by_their_block(stand: Stand) -> Any:
    stub = _of_the_client(stand)
    with stand.client as entered:
        same = entered is stand.client
    return same, parity.told(lambda: stub.SayHello(say(), timeout=1))


def _calling(path: str) -> Script:
    def script(stand: Stand) -> Any:
        channel, seconds = stand.channel, PATIENCE_SECONDS
        unary: Any = channel.unary_unary(path)
        stream: Any = channel.unary_stream(path)
        requests: Any = channel.stream_unary(path)
        both: Any = channel.stream_stream(path)
        future = unary.future(b"", timeout=seconds)
        return {
            "call": parity.told(lambda: unary(b"", timeout=seconds)),
            "with_call": parity.told(lambda: unary.with_call(b"", timeout=seconds)),
            "future": parity.told(future.result),
            "ended": parity.ended(future),
            "stream": parity.told(lambda: next(stream(b"", timeout=seconds))),
            "requests": parity.told(lambda: requests(iter([b""]), timeout=seconds)),
            "both": parity.told(lambda: next(both(iter([b""]), timeout=seconds))),
        }

    return script


for what, path in {
    "of a service that is there": "/examples.greeter.v1.GreeterService/Unknown",
    "of a service that is not": "/examples.greeter.v1.UnknownService/SayHello",
    "that are no path": "/nonsense",
}.items():
    unknown.add(
        what,
        _calling(path),
        expects={"call.code": "UNIMPLEMENTED", "call.details": "Method not found!"},
    )


@left_out.case(expects={"[0].code": "UNIMPLEMENTED", "[0].details": "Method not implemented!"})
def are_unimplemented(stand: Stand) -> Any:
    stub, seconds = greeter(stand), PATIENCE_SECONDS
    return [
        parity.told(lambda: stub.SayHello(say(), timeout=seconds)),
        parity.told(lambda: next(stub.Repeat(repeat(), timeout=seconds))),
    ]


@messages.case(expects={"": [0, 1, MEGABYTE]})
def may_be_empty_or_big(stand: Stand) -> Any:
    return [
        len(greeter(stand).SayHello(say("é" * length), timeout=PATIENCE_SECONDS).message)
        for length in (0, 1, MEGABYTE)
    ]


@messages.case(expects={"": [0, 1, MEGABYTE]}, without=NO_FUTURES)
def of_a_future_may_be_empty_or_big(stand: Stand) -> Any:
    method = greeter(stand).SayHello
    futures = [
        method.future(say("é" * length), timeout=PATIENCE_SECONDS) for length in (0, 1, MEGABYTE)
    ]
    return [len(future.result().message) for future in futures]


@messages.case(
    expects={"call": "read by its number", "text.details": "Exception serializing request!"},
    without=NOT_CONVERTED,
)
def of_another_class_cross_if_they_can_be_read(stand: Stand) -> Any:
    stub, seconds = greeter(stand), PATIENCE_SECONDS
    other = next(gather("read by its number"))
    return {
        "call": stub.SayHello(other, timeout=seconds).message,
        "stream": [each.message for each in stub.Repeat(other, timeout=seconds)],
        "text": parity.told(lambda: stub.SayHello("text", timeout=seconds)),
        "none": parity.told(lambda: stub.SayHello(None, timeout=seconds)),
        "future": parity.told(lambda: stub.SayHello.future(None, timeout=seconds)),
        "stream of none": parity.told(lambda: stub.Repeat(None, timeout=seconds)),
    }


def _generic(stand: Stand, kind: str, name: str, *serializers: Any) -> Callable[..., Any]:
    call = getattr(stand.channel, kind)(f"/planted.Generic/{name}", *serializers)
    return lambda request: call(request, timeout=PATIENCE_SECONDS)


@generic.case(
    expects={"unary": b"cba", "stream[1]": b"abc", "requests": b"ab", "both[2]": b"b"},
)
def take_and_give_bytes(stand: Stand) -> Any:
    return {
        "unary": _generic(stand, "unary_unary", "Unary")(b"abc"),
        "stream": list(_generic(stand, "unary_stream", "Stream")(b"abc")),
        "requests": _generic(stand, "stream_unary", "Requests")(iter([b"a", b"", b"b"])),
        "both": list(_generic(stand, "stream_stream", "Both")(iter([b"a", b"", b"b"]))),
    }


@generic.case()
def that_answer_none_fail(stand: Stand) -> Any:
    method = _generic(stand, "unary_unary", "None")
    return parity.told(lambda: method(b""))["code"] in {"UNKNOWN", "INTERNAL"}


@generic.case(expects={"good": "ABC"})
def with_any_serializer_take_what_it_makes(stand: Stand) -> Any:
    good = _generic(stand, "unary_unary", "Text", str.encode, bytes.decode)
    bad_request = _generic(stand, "unary_unary", "Text", _failing, bytes.decode)
    bad_response = _generic(stand, "unary_unary", "Text", str.encode, _failing)
    refused = _generic(stand, "unary_unary", "Failing")
    return {
        "good": good("abc"),
        "bad request": parity.told(lambda: bad_request("abc")),
        "bad response": parity.told(lambda: bad_response("abc")),
        "refused": parity.told(lambda: refused(b"abc")),
    }


@generic.case(expects={"bad request.code": "INTERNAL"})
def do_not_pass_a_message_that_lacks_a_required_field(stand: Stand) -> Any:
    classes = WHOLE.SerializeToString, WHOLE.FromString
    echo = _generic(stand, "unary_unary", "Echo", *classes)
    forget = _generic(stand, "unary_unary", "Forget", *classes)
    good, bad = WHOLE(part={"number": 7}), WHOLE(part={})
    return {
        "good": str(echo(good)),
        "empty": str(echo(WHOLE())),
        "bad request": parity.told(lambda: echo(bad)),
        "bad response": parity.told(lambda: forget(good))["code"] in {"UNKNOWN", "INTERNAL"},
    }
