"""The gRPC server: its port, its health, its reflection, and how it stops."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as stubs
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from portico.context import Identity, current, entered, root
from portico.resilience.admission import Admission
from portico.rpc import reflecting
from portico.rpc.policy import Policy
from portico.rpc.registry import Registry
from portico.rpc.remote import RemoteChannel
from portico.rpc.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

GREETER = "examples.greeter.v1.GreeterService"
PATIENCE_SECONDS = 20


class Servicer(stubs.GreeterServiceServicer):
    """Tells who calls; on "wait" it waits to be let go."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.go_on = threading.Event()
        self.call: Any = None

    def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
        self.call = context
        if request.name == "wait":
            self.started.set()
            self.go_on.wait(PATIENCE_SECONDS)
        assert current() is context
        return pb.SayHelloResponse(message=request.name)

    def Repeat(self, request: pb.RepeatRequest, context: Any) -> Iterator[pb.RepeatResponse]:
        self.call = context
        yield pb.RepeatResponse()

    def Gather(self, request_iterator: Any, context: Any) -> pb.GatherResponse:
        return pb.GatherResponse(message=", ".join(each.name for each in request_iterator))

    def Chat(self, request_iterator: Any, context: Any) -> Iterator[pb.ChatResponse]:
        yield from ()


@pytest.fixture
def servicer() -> Iterator[Servicer]:
    servicer = Servicer()
    yield servicer
    servicer.go_on.set()


def serving(servicer: Servicer, policy: Policy | None = None, **options: Any) -> Server:
    registry: Any = Registry()
    stubs.add_GreeterServiceServicer_to_server(servicer, registry.registrar("greeter"))
    server = Server(**options)
    server.bind()
    server.mount(registry, policy or Policy())
    server.start()
    return server


@pytest.fixture
def server(servicer: Servicer) -> Iterator[Server]:
    server = serving(servicer)
    yield server
    server.stop(0)


@pytest.fixture
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as channel:
        yield channel


class TestItsPort:
    def test_is_a_free_one_unless_one_is_asked_for(self, server: Server) -> None:
        assert server.port > 0
        assert server.address == f"127.0.0.1:{server.port}"

    def test_that_is_taken_is_told_before_anything_starts(self, server: Server) -> None:
        second = Server(port=server.port)

        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{server.port}"):
            second.bind()

    def test_is_free_again_after_stopping(self, servicer: Servicer, server: Server) -> None:
        server.stop(0)

        serving(servicer, port=server.port).stop(0)


class TestItsHealth:
    def test_is_told_as_a_whole_and_per_service(self, channel: grpc.Channel) -> None:
        check = health_pb2_grpc.HealthStub(channel).Check

        for service in ("", GREETER):
            answer = check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            check(health_pb2.HealthCheckRequest(service="unknown"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND

    def test_ends_before_its_service_does(
        self, servicer: Servicer, server: Server, channel: grpc.Channel
    ) -> None:
        watched = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(service=GREETER), timeout=PATIENCE_SECONDS
        )
        first = next(watched)
        running = stubs.GreeterServiceStub(channel).SayHello.future(
            pb.SayHelloRequest(name="wait"), timeout=PATIENCE_SECONDS
        )
        servicer.started.wait(PATIENCE_SECONDS)
        stopping = threading.Thread(target=server.stop, args=(PATIENCE_SECONDS,))
        stopping.start()

        second = next(watched)
        watched.cancel()
        servicer.go_on.set()

        assert first.status == health_pb2.HealthCheckResponse.SERVING
        assert second.status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert running.result().message == "wait"
        stopping.join(PATIENCE_SECONDS)


def test_reflection_lists_the_services(channel: grpc.Channel) -> None:
    requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    answer = next(
        reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
            requests, timeout=PATIENCE_SECONDS
        )
    )

    names = {each.name for each in answer.list_services_response.service}
    assert {GREETER, "grpc.health.v1.Health"} <= names


class TestStopping:
    def test_lets_running_calls_end(
        self, servicer: Servicer, server: Server, channel: grpc.Channel
    ) -> None:
        stub = stubs.GreeterServiceStub(channel)
        running = stub.SayHello.future(pb.SayHelloRequest(name="wait"), timeout=PATIENCE_SECONDS)
        servicer.started.wait(PATIENCE_SECONDS)
        stopping = threading.Thread(target=server.stop, args=(PATIENCE_SECONDS,))
        stopping.start()
        servicer.go_on.set()

        assert running.result().message == "wait"
        stopping.join(PATIENCE_SECONDS)

    def test_gives_up_calls_that_do_not_end(
        self, servicer: Servicer, server: Server, channel: grpc.Channel
    ) -> None:
        stub = stubs.GreeterServiceStub(channel)
        running = stub.SayHello.future(pb.SayHelloRequest(name="wait"), timeout=PATIENCE_SECONDS)
        servicer.started.wait(PATIENCE_SECONDS)

        server.stop(0.05)

        assert running.exception() is not None
        assert not servicer.call.is_active()

    def test_does_not_wait_for_calls_that_grpcio_never_finishes(
        self, server: Server, channel: grpc.Channel
    ) -> None:
        gather: Any = channel.stream_unary(f"/{GREETER}/Gather")
        for _ in range(20):
            with pytest.raises(grpc.RpcError):
                gather(iter([b"\xff"]), timeout=PATIENCE_SECONDS)

        stopping = threading.Thread(target=server.stop, args=(0,), daemon=True)
        stopping.start()
        stopping.join(PATIENCE_SECONDS)

        assert not stopping.is_alive()

    def test_twice_does_nothing_more(self, server: Server) -> None:
        server.stop(0)
        server.stop(0)


def test_calls_beyond_the_bound_are_refused(servicer: Servicer) -> None:
    server = serving(
        servicer, threads=1, admission=Admission(most_waiting=1, patience_seconds=PATIENCE_SECONDS)
    )
    with grpc.insecure_channel(server.address) as channel:
        stub = stubs.GreeterServiceStub(channel)
        accepted = []
        for _ in range(2):
            accepted.append(
                stub.SayHello.future(pb.SayHelloRequest(name="wait"), timeout=PATIENCE_SECONDS)
            )
            servicer.started.wait(PATIENCE_SECONDS)
        codes: set[grpc.StatusCode] = set()
        until = time.monotonic() + PATIENCE_SECONDS
        while codes != {grpc.StatusCode.RESOURCE_EXHAUSTED} and time.monotonic() < until:
            codes = {stub.SayHello.future(pb.SayHelloRequest(name="x"), timeout=0.2).code()}
        servicer.go_on.set()
        assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert [each.result().message for each in accepted] == ["wait"] * 2
    server.stop(0)


def test_a_message_beyond_the_limit_is_refused(servicer: Servicer) -> None:
    server = serving(servicer, max_message_bytes=1000)
    with grpc.insecure_channel(server.address) as channel:
        stub = stubs.GreeterServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.SayHello(pb.SayHelloRequest(name="x" * 2000), timeout=PATIENCE_SECONDS)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    server.stop(0)


class TestACallFromTheNetwork:
    def test_has_what_its_caller_sent(self, servicer: Servicer, channel: grpc.Channel) -> None:
        trace = "0123456789abcdef0123456789abcdef"
        sent = (("x-request-id", "req-1"), ("traceparent", f"00-{trace}-0123456789abcdef-01"))

        stubs.GreeterServiceStub(channel).SayHello(pb.SayHelloRequest(), metadata=sent, timeout=5)

        call = servicer.call
        assert (call.request_id, call.trace_id) == ("req-1", trace)
        assert call.origin.span_id == "0123456789abcdef"
        assert (call.module, call.caller) == ("greeter", "")
        assert call.peer().startswith("ipv4:127.0.0.1:")
        assert call.peer_identities() is None
        assert call.peer_identity_key() is None
        assert 0 < call.time_remaining() < 10

    @pytest.mark.parametrize("request_id", ["", "a b", "x" * 129])
    def test_has_a_request_id_of_its_own_for_one_that_is_none(
        self, servicer: Servicer, channel: grpc.Channel, request_id: str
    ) -> None:
        sent = (("x-request-id", request_id), ("traceparent", "nonsense"))

        stubs.GreeterServiceStub(channel).SayHello(pb.SayHelloRequest(), metadata=sent)

        assert len(servicer.call.request_id) == 32
        assert len(servicer.call.trace_id) == 32

    def test_has_no_deadline_unless_somebody_sets_one(
        self, servicer: Servicer, channel: grpc.Channel
    ) -> None:
        stub = stubs.GreeterServiceStub(channel)
        stub.SayHello(pb.SayHelloRequest())
        assert servicer.call.deadline is None
        assert servicer.call.time_remaining() is None

    def test_gets_the_applications_deadline_if_it_is_unary(self, servicer: Servicer) -> None:
        server = serving(servicer, Policy(default_timeout_seconds=7))
        with grpc.insecure_channel(server.address) as channel:
            stub = stubs.GreeterServiceStub(channel)
            stub.SayHello(pb.SayHelloRequest())
            assert 0 < servicer.call.time_remaining() <= 7
            list(stub.Repeat(pb.RepeatRequest()))
            assert servicer.call.deadline is None
        server.stop(0)


class TestARemoteChannel:
    @pytest.fixture
    def stub(self, channel: grpc.Channel) -> Any:
        return stubs.GreeterServiceStub(RemoteChannel(channel, default_timeout_seconds=3))

    def test_bounds_a_unary_call_that_nothing_else_bounds(
        self, servicer: Servicer, stub: Any
    ) -> None:
        stub.SayHello(pb.SayHelloRequest())
        assert 0 < servicer.call.time_remaining() < 4

        stub.SayHello(pb.SayHelloRequest(), timeout=60)
        assert 50 < servicer.call.time_remaining() < 61

        list(stub.Repeat(pb.RepeatRequest()))
        assert servicer.call.deadline is None

    def test_takes_request_and_trace_along_and_no_user(self, servicer: Servicer, stub: Any) -> None:
        with entered(root(identity=Identity("ann"))) as call:
            stub.SayHello(pb.SayHelloRequest(), metadata=(("own", "1"),))

        received = servicer.call
        assert (received.request_id, received.trace_id) == (call.request_id, call.trace_id)
        assert ("own", "1") in [tuple(each) for each in received.invocation_metadata()]
        assert not received.identity.signed_in

    def test_keeps_the_request_id_of_the_call_it_is_made_in(
        self, servicer: Servicer, stub: Any
    ) -> None:
        with entered(root()) as call:
            stub.SayHello(pb.SayHelloRequest(), metadata=(("x-request-id", "other"),))

        assert servicer.call.request_id == call.request_id

    def test_calls_nobody_for_a_call_that_was_cancelled(
        self, servicer: Servicer, stub: Any
    ) -> None:
        with entered(root()) as call:
            call.cancel()
            with pytest.raises(grpc.RpcError) as caught:
                stub.SayHello(pb.SayHelloRequest())
            future = stub.SayHello.future(pb.SayHelloRequest())

        assert caught.value.code() is grpc.StatusCode.CANCELLED
        assert future.code() is grpc.StatusCode.CANCELLED
        assert servicer.call is None

    def test_tells_that_nobody_answers(self) -> None:
        with RemoteChannel(grpc.insecure_channel("127.0.0.1:1")) as channel:
            stub = stubs.GreeterServiceStub(channel)
            with pytest.raises(grpc.RpcError) as caught:
                stub.SayHello(pb.SayHelloRequest(), timeout=5)

        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE

    def test_makes_no_stubs_once_closed(self, channel: grpc.Channel) -> None:
        remote = RemoteChannel(channel)
        remote.close()

        with pytest.raises(ValueError, match="closed channel"):
            stubs.GreeterServiceStub(remote)


def test_open_reflection_streams_take_no_threads_from_calls() -> None:
    registry = Registry()
    add: Any = stubs.add_GreeterServiceServicer_to_server
    add(Servicer(), registry.registrar("greeter"))
    server = Server(threads=2)
    server.bind()
    server.mount(registry, Policy())
    server.start()
    ended = threading.Event()

    def asking() -> Iterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(list_services="*")
        ended.wait(10)

    with grpc.insecure_channel(server.address) as channel:
        streams = [
            channel.stream_stream(
                f"/{name}/ServerReflectionInfo",
                request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
                response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
            )(asking())
            for name in reflecting.NAMES
        ]
        for stream in streams:
            names = {each.name for each in next(stream).list_services_response.service}
            assert "examples.greeter.v1.GreeterService" in names
            pool = descriptor_pool.Default()
            assert all(pool.FindServiceByName(name) for name in names)  # a tool asks for each
        stub = stubs.GreeterServiceStub(channel)
        for _ in range(3):
            stub.SayHello(pb.SayHelloRequest(name="you"), timeout=5)
        ended.set()
    server.stop(0)


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_it_listens_on_ipv6_too() -> None:
    server = Server(host="::1")
    server.bind()
    server.mount(Registry(), Policy())
    server.start()
    assert server.address == f"[::1]:{server.port}"
    with grpc.insecure_channel(server.address) as channel:
        grpc.channel_ready_future(channel).result(5)
    server.stop(0)
