"""Channels themselves, and contracts of every sort: generic handlers, proto2, unknown methods."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as stubs
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from portico.rpc.local import LocalChannel
from portico.rpc.registry import Registry
from portico.testing import parity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_SECONDS = 20
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


def greeter(servicer: Servicer) -> Callable[[Any], None]:
    return lambda registrar: stubs.add_GreeterServiceServicer_to_server(servicer, registrar)


class TestChannels:
    def test_refuse_calls_once_closed(self, agree: Any) -> None:
        def script(channel: Any) -> Any:
            stub = stubs.GreeterServiceStub(channel)
            stub.SayHello(pb.SayHelloRequest(), timeout=PATIENCE_SECONDS)
            channel.close()
            return [
                parity.told(lambda: stub.SayHello(pb.SayHelloRequest(), timeout=1)),
                parity.told(lambda: stub.SayHello.with_call(pb.SayHelloRequest(), timeout=1)),
                parity.told(lambda: stub.SayHello.future(pb.SayHelloRequest(), timeout=1)),
                parity.told(lambda: stub.Repeat(pb.RepeatRequest(), timeout=1)),
                parity.told(lambda: stub.Gather(iter(()), timeout=1)),
                parity.told(lambda: stub.Chat(iter(()), timeout=1)),
            ]

        outcome = agree(greeter(Servicer()), script)

        assert outcome[0] == {"raised": "ValueError"}

    def test_end_what_is_under_way_when_they_close(self, agree: Any) -> None:
        servicer = Servicer()

        def script(channel: Any) -> Any:
            servicer.go_on.clear()
            servicer.started.clear()
            stub = stubs.GreeterServiceStub(channel)
            future = stub.SayHello.future(pb.SayHelloRequest(name="wait"), timeout=PATIENCE_SECONDS)
            servicer.started.wait(PATIENCE_SECONDS)
            stream = stub.Repeat(pb.RepeatRequest(name="wait"), timeout=PATIENCE_SECONDS)
            channel.close()
            outcome = {
                "future": parity.told(lambda: future.result(timeout=PATIENCE_SECONDS)),
                "call": parity.ended(future),
                "stream": parity.told(lambda: next(stream)),
                "again": parity.told(channel.close),
            }
            servicer.go_on.set()
            return outcome

        outcome = agree(greeter(servicer), script)

        assert outcome["future"]["details"] == "Channel closed!"

    # grpcio's own thread that asks for the state complains when its channel closes.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_get_ready_and_say_so(self, agree: Any) -> None:
        def script(channel: Any) -> Any:
            ready = threading.Event()

            def listen(state: grpc.ChannelConnectivity) -> None:
                if state is grpc.ChannelConnectivity.READY:
                    ready.set()

            channel.subscribe(listen, try_to_connect=True)
            heard = ready.wait(PATIENCE_SECONDS)
            channel.unsubscribe(listen)
            future = grpc.channel_ready_future(channel)
            return heard, future.result(timeout=PATIENCE_SECONDS)

        assert agree(greeter(Servicer()), script) == (True, None)

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_outlive_a_listener_that_raises(self, agree: Any) -> None:
        def script(channel: Any) -> Any:
            channel.subscribe(lambda _: 1 / 0, try_to_connect=True)
            stub = stubs.GreeterServiceStub(channel)
            return stub.SayHello(pb.SayHelloRequest(name="a"), timeout=PATIENCE_SECONDS).message

        assert agree(greeter(Servicer()), script) == "a"

    def test_are_closed_by_their_block(self, agree: Any) -> None:
        def script(channel: Any) -> Any:
            stub = stubs.GreeterServiceStub(channel)
            with channel as entered:
                same = entered is channel
            return same, parity.told(lambda: stub.SayHello(pb.SayHelloRequest(), timeout=1))

        agree(greeter(Servicer()), script)


class TestMethods:
    @pytest.mark.parametrize(
        "path",
        [
            "/examples.greeter.v1.GreeterService/Unknown",
            "/examples.greeter.v1.UnknownService/SayHello",
            "/nonsense",
        ],
    )
    def test_that_are_unknown_are_unimplemented(self, agree: Any, path: str) -> None:
        def script(channel: Any) -> Any:
            unary, stream = channel.unary_unary(path), channel.unary_stream(path)
            requests, both = channel.stream_unary(path), channel.stream_stream(path)
            future = unary.future(b"", timeout=PATIENCE_SECONDS)
            return [
                parity.told(lambda: unary(b"", timeout=PATIENCE_SECONDS)),
                parity.told(lambda: unary.with_call(b"", timeout=PATIENCE_SECONDS)),
                parity.told(future.result),
                parity.ended(future),
                parity.told(lambda: next(stream(b"", timeout=PATIENCE_SECONDS))),
                parity.told(lambda: requests(iter([b""]), timeout=PATIENCE_SECONDS)),
                parity.told(lambda: next(both(iter([b""]), timeout=PATIENCE_SECONDS))),
            ]

        outcome = agree(greeter(Servicer()), script)

        assert (outcome[0]["code"], outcome[0]["details"]) == ("UNIMPLEMENTED", "Method not found!")

    def test_that_a_servicer_left_out_are_unimplemented(self, agree: Any) -> None:
        def script(channel: Any) -> Any:
            stub = stubs.GreeterServiceStub(channel)
            return [
                parity.told(lambda: stub.SayHello(pb.SayHelloRequest(), timeout=PATIENCE_SECONDS)),
                parity.told(
                    lambda: next(stub.Repeat(pb.RepeatRequest(), timeout=PATIENCE_SECONDS))
                ),
            ]

        base: Any = stubs.GreeterServiceServicer
        outcome = agree(
            lambda registrar: stubs.add_GreeterServiceServicer_to_server(base(), registrar), script
        )

        assert outcome[0]["details"] == "Method not implemented!"

    def test_of_another_kind_than_the_caller_thinks_are_refused_here(self) -> None:
        channel: Any = LocalChannel()
        stubs.add_GreeterServiceServicer_to_server(Servicer(), channel)
        call = channel.unary_unary("/examples.greeter.v1.GreeterService/Chat")

        with pytest.raises(grpc.RpcError) as caught:
            call(b"")

        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    def test_are_found_with_and_without_a_slash_in_front(self) -> None:
        channel: Any = LocalChannel()
        stubs.add_GreeterServiceServicer_to_server(Servicer(), channel)

        for path in ("/examples.greeter.v1.GreeterService/SayHello",) * 2:
            call = channel.unary_unary(
                path.lstrip("/"),
                pb.SayHelloRequest.SerializeToString,
                pb.SayHelloResponse.FromString,
            )
            assert call(pb.SayHelloRequest(name="a")).message == "a"


class TestMessages:
    def test_of_a_generic_handler_are_bytes(self, agree: Any) -> None:
        def populate(registrar: Any) -> None:
            handlers: dict[str, Any] = {
                "Unary": grpc.unary_unary_rpc_method_handler(lambda request, _: request[::-1]),
                "Stream": grpc.unary_stream_rpc_method_handler(
                    lambda request, _: iter([request, request])
                ),
                "Requests": grpc.stream_unary_rpc_method_handler(
                    lambda requests, _: b"".join(requests)
                ),
                "Both": grpc.stream_stream_rpc_method_handler(lambda requests, _: requests),
                "None": grpc.unary_unary_rpc_method_handler(lambda _request, _: None),
            }
            registrar.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler("planted.Generic", handlers),)
            )

        def script(channel: Any) -> Any:
            seconds = PATIENCE_SECONDS
            return [
                channel.unary_unary("/planted.Generic/Unary")(b"abc", timeout=seconds),
                list(channel.unary_stream("/planted.Generic/Stream")(b"abc", timeout=seconds)),
                channel.stream_unary("/planted.Generic/Requests")(
                    iter([b"a", b"", b"b"]), timeout=seconds
                ),
                list(
                    channel.stream_stream("/planted.Generic/Both")(
                        iter([b"a", b"", b"b"]), timeout=seconds
                    )
                ),
                parity.told(
                    lambda: channel.unary_unary("/planted.Generic/None")(b"", timeout=seconds)
                )["code"],
            ]

        assert agree(populate, script)[0] == b"cba"

    def test_of_any_serializer_cross_as_it_makes_them(self, agree: Any) -> None:
        def failing(data: bytes) -> Any:
            raise ValueError("private")

        def populate(registrar: Any) -> None:
            handlers: dict[str, Any] = {
                "Text": grpc.unary_unary_rpc_method_handler(
                    lambda request, _: request.upper(),
                    request_deserializer=lambda data: data.decode(),
                    response_serializer=lambda text: text.encode(),
                ),
                "Failing": grpc.unary_unary_rpc_method_handler(
                    lambda request, _: request, request_deserializer=failing
                ),
            }
            registrar.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler("planted.Text", handlers),)
            )

        def script(channel: Any) -> Any:
            good = channel.unary_unary("/planted.Text/Text", str.encode, bytes.decode)
            bad_request = channel.unary_unary("/planted.Text/Text", failing, bytes.decode)
            bad_response = channel.unary_unary("/planted.Text/Text", str.encode, failing)
            refused = channel.unary_unary("/planted.Text/Failing")
            return [
                good("abc", timeout=PATIENCE_SECONDS),
                parity.told(lambda: bad_request("abc", timeout=PATIENCE_SECONDS)),
                parity.told(lambda: bad_response("abc", timeout=PATIENCE_SECONDS)),
                parity.told(lambda: refused(b"abc", timeout=PATIENCE_SECONDS)),
            ]

        assert agree(populate, script)[0] == "ABC"

    def test_of_another_class_cross_if_they_can_be_read(self, agree: Any) -> None:
        def script(channel: Any) -> Any:
            stub: Any = stubs.GreeterServiceStub(channel)
            other = pb.GatherRequest(name="read by its number")
            return [
                stub.SayHello(other, timeout=PATIENCE_SECONDS).message,
                [each.message for each in stub.Repeat(other, timeout=PATIENCE_SECONDS)],
                parity.told(lambda: stub.SayHello("text", timeout=PATIENCE_SECONDS)),
                parity.told(lambda: stub.SayHello(None, timeout=PATIENCE_SECONDS)),
                parity.told(lambda: stub.SayHello.future(None, timeout=PATIENCE_SECONDS)),
                parity.told(lambda: stub.Repeat(None, timeout=PATIENCE_SECONDS)),
            ]

        outcome = agree(greeter(Servicer()), script)

        assert outcome[0] == "read by its number"
        assert outcome[2]["details"] == "Exception serializing request!"

    def test_that_lack_a_required_field_do_not_cross(self, agree: Any) -> None:
        whole_class = WHOLE

        def populate(registrar: Any) -> None:
            handlers: dict[str, Any] = {
                "Echo": grpc.unary_unary_rpc_method_handler(
                    lambda request, _: request,
                    request_deserializer=whole_class.FromString,
                    response_serializer=whole_class.SerializeToString,
                ),
                "Forget": grpc.unary_unary_rpc_method_handler(
                    lambda _request, _: whole_class(part={}),
                    request_deserializer=whole_class.FromString,
                    response_serializer=whole_class.SerializeToString,
                ),
            }
            registrar.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler("planted.Proto2", handlers),)
            )

        def script(channel: Any) -> Any:
            classes = whole_class.SerializeToString, whole_class.FromString
            echo = channel.unary_unary("/planted.Proto2/Echo", *classes)
            forget = channel.unary_unary("/planted.Proto2/Forget", *classes)
            good, bad = whole_class(part={"number": 7}), whole_class(part={})
            return [
                str(echo(good, timeout=PATIENCE_SECONDS)),
                str(echo(whole_class(), timeout=PATIENCE_SECONDS)),
                parity.told(lambda: echo(bad, timeout=PATIENCE_SECONDS)),
                parity.told(lambda: forget(good, timeout=PATIENCE_SECONDS))["code"],
            ]

        outcome = agree(populate, script)

        assert outcome[2]["code"] == "INTERNAL"

    def test_may_be_empty_or_big(self, agree: Any) -> None:
        def script(channel: Any) -> Any:
            stub = stubs.GreeterServiceStub(channel)
            return [
                len(
                    stub.SayHello(
                        pb.SayHelloRequest(name="é" * length), timeout=PATIENCE_SECONDS
                    ).message
                )
                for length in (0, 1, 2**20)
            ]

        assert agree(greeter(Servicer()), script) == [0, 1, 2**20]


def test_a_service_is_registered_once() -> None:
    channel: Any = LocalChannel()
    stubs.add_GreeterServiceServicer_to_server(Servicer(), channel)
    with pytest.raises(ValueError, match="GreeterService is registered twice"):
        stubs.add_GreeterServiceServicer_to_server(Servicer(), channel)

    registry: Any = Registry()
    stubs.add_GreeterServiceServicer_to_server(Servicer(), registry.registrar("a"))
    with pytest.raises(ValueError, match="GreeterService is registered twice"):
        stubs.add_GreeterServiceServicer_to_server(Servicer(), registry.registrar("b"))


WHOLE = _proto2_class("Whole")
