"""Messages: empty, big, of another class, of no contract, with something missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from portico.testing import parity
from portico.testing.cases import Group
from tests.placement.acting import Acting
from tests.placement.greeting import (
    MEGABYTE,
    NO_FUTURES,
    PATIENCE_SECONDS,
    gather,
    greeter,
    populating,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Callable

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


POPULATE = populating(Acting)
NOT_CONVERTED = {"servicer": "nothing converts a message on its way to a function"}
messages = Group(name="messages", populate=POPULATE, stay=True)
generic = Group(
    name="generic handlers", populate=_populate_generic, stay=True, without=NOT_CONVERTED
)
GROUPS = [messages, generic]


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
