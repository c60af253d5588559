"""A peer: calls to another process that fail fast, are tried again with a bound, and hand on less time."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as stubs
from portico.lab.v1 import hop_pb2, hop_pb2_grpc

from portico.context import entered, root
from portico.errors import StatusError, not_found, resource_exhausted
from portico.resilience.admission import Admission
from portico.resilience.settings import RemoteSettings
from portico.rpc import shedding
from portico.rpc.peer import Peer
from portico.rpc.policy import Policy
from portico.rpc.registry import Registry
from portico.rpc.server import Server
from portico.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GREETER = "examples.greeter.v1.GreeterService"
HOP = "portico.lab.v1.HopService"
PATIENCE_SECONDS = 20
CODES = grpc.StatusCode


class Servicer(stubs.GreeterServiceServicer):
    """Fails as it is asked to; on "wait" it waits to be let go; tells the time that is left."""

    def __init__(self) -> None:
        self.calls = 0
        self.waiting = threading.Semaphore(0)
        self.go_on = threading.Event()

    def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
        self.calls += 1
        if request.name == "wait":
            self.waiting.release()
            self.go_on.wait(PATIENCE_SECONDS)
        if request.name == "time left":
            return pb.SayHelloResponse(message=str(context.time_remaining()))
        if request.name == "overloaded":
            raise resource_exhausted("OVERLOADED", "too much")
        if request.name == "not found":
            raise not_found("NO_SUCH_THING", "nothing")
        if request.name in CODES.__members__:
            context.abort(_code(request.name), "as asked")
        return pb.SayHelloResponse(message=request.name)

    def Repeat(self, request: pb.RepeatRequest, context: Any) -> Iterator[pb.RepeatResponse]:
        self.calls += 1
        if request.name in CODES.__members__:
            context.abort(_code(request.name), "as asked")
        self.waiting.release()
        while context.is_active():
            yield pb.RepeatResponse(message=request.name)
            if request.name != "for ever":
                return
            time.sleep(0.01)

    def Gather(self, request_iterator: Any, context: Any) -> pb.GatherResponse:
        names = [request.name for request in request_iterator]
        if names == ["INTERNAL"]:
            context.abort(CODES.INTERNAL, "as asked")
        return pb.GatherResponse(message=" ".join(names))

    def Chat(self, request_iterator: Any, context: Any) -> Iterator[pb.ChatResponse]:
        for request in request_iterator:
            yield pb.ChatResponse(message=request.name)


def _code(name: str) -> grpc.StatusCode:
    return next(code for code in grpc.StatusCode if code.name == name)


class Unsteady(hop_pb2_grpc.HopServiceServicer):
    """UNAVAILABLE so many times, then well."""

    def __init__(self) -> None:
        self.failures = 0
        self.attempts = 0

    def Hop(self, request: hop_pb2.HopRequest, context: Any) -> hop_pb2.HopResponse:
        self.attempts += 1
        if self.failures:
            self.failures -= 1
            context.abort(CODES.UNAVAILABLE, "not now")
        return hop_pb2.HopResponse(number=request.number)


@pytest.fixture
def servicer() -> Iterator[Servicer]:
    servicer = Servicer()
    yield servicer
    servicer.go_on.set()


@pytest.fixture
def unsteady() -> Unsteady:
    return Unsteady()


def serving(servicer: Servicer, unsteady: Unsteady | None = None, **options: Any) -> Server:
    registry: Any = Registry()
    stubs.add_GreeterServiceServicer_to_server(servicer, registry.registrar("greeter"))
    server = Server(**options)
    server.bind()
    server.mount(registry, Policy())
    if unsteady is not None:  # beside the pipeline: its contract asks for a user
        hop_pb2_grpc.add_HopServiceServicer_to_server(unsteady, server._server)
    server.start()
    return server


@pytest.fixture
def server(servicer: Servicer, unsteady: Unsteady) -> Iterator[Server]:
    server = serving(servicer, unsteady)
    yield server
    server.stop(0)


@pytest.fixture
def make(server: Server) -> Iterator[Callable[..., Peer]]:
    peers: list[Peer] = []

    def make(address: str = "", **settings: Any) -> Peer:
        peer = Peer(
            address or server.address,
            services=(GREETER, HOP),
            process="callee",
            settings=RemoteSettings(**settings),
            metrics=Metrics(),
        )
        peers.append(peer)
        return peer

    yield make
    for peer in peers:
        peer.close()


def greeter(peer: Peer, **options: Any) -> Any:
    return stubs.GreeterServiceStub(peer.channel(**options))


def hello(stub: Any, name: str = "you", timeout: float | None = PATIENCE_SECONDS) -> str:
    message: str = stub.SayHello(pb.SayHelloRequest(name=name), timeout=timeout).message
    return message


def refusal(call: Callable[[], Any]) -> StatusError:
    with pytest.raises(StatusError) as caught:
        call()
    return caught.value


def ten_times(call: Callable[[], Any]) -> None:
    for _ in range(10):
        with pytest.raises(grpc.RpcError):
            call()


class TestTime:
    def test_that_is_handed_on_is_less_by_a_margin(self, make: Any) -> None:
        stub = greeter(make(margin_ms=500))
        with entered(root(deadline=time.monotonic() + 10)):
            left = float(hello(stub, "time left", timeout=None))

        assert left < 9.7

    def test_is_never_less_by_more_than_a_tenth(self, make: Any) -> None:
        stub = greeter(make(margin_ms=1000))
        with entered(root(deadline=time.monotonic() + 5)):
            left = float(hello(stub, "time left", timeout=None))

        assert 4.3 < left < 4.6

    def test_of_a_call_that_nobody_above_bounds_has_no_margin(self, make: Any) -> None:
        left = float(hello(greeter(make(margin_ms=1000)), "time left", timeout=10))

        assert 9 < left < 10.2  # gRPC rounds timeouts up on the wire

    @pytest.mark.parametrize("timeout", [None, 60])
    def test_is_never_more_than_the_edge_gives(self, make: Any, timeout: float | None) -> None:
        stub = greeter(make(), timeout_seconds=3)
        assert float(hello(stub, "time left", timeout)) < 3.1
        with entered(root(deadline=time.monotonic() + 60)):
            assert float(hello(stub, "time left", timeout)) < 3.1

    def test_that_is_up_is_told_while_the_caller_still_waits(
        self, make: Any, servicer: Servicer
    ) -> None:
        stub = greeter(make(margin_ms=50))
        deadline = time.monotonic() + 1
        with entered(root(deadline=deadline)):
            error = refusal(lambda: hello(stub, "wait", timeout=None))

        assert error.code() is CODES.DEADLINE_EXCEEDED
        assert time.monotonic() < deadline


class TestTryingAgain:
    @pytest.fixture
    def hop(self, make: Any) -> Callable[[], int]:
        stub = hop_pb2_grpc.HopServiceStub(make(breaker=False).channel())

        def hop() -> int:
            number: int = stub.Hop(hop_pb2.HopRequest(number=1), timeout=PATIENCE_SECONDS).number
            return number

        return hop

    def test_helps_a_call_whose_repeat_does_no_harm(
        self, unsteady: Unsteady, hop: Callable[[], int]
    ) -> None:
        unsteady.failures = 2

        assert hop() == 1
        assert unsteady.attempts == 3

    def test_ends_after_so_many_attempts(self, unsteady: Unsteady, hop: Callable[[], int]) -> None:
        unsteady.failures = 3

        assert refusal(hop).code() is CODES.UNAVAILABLE
        assert unsteady.attempts == 3

    def test_stops_altogether_when_nothing_helps(
        self, unsteady: Unsteady, hop: Callable[[], int]
    ) -> None:
        unsteady.failures = 1000
        for _ in range(40):
            refusal(hop)

        assert unsteady.attempts <= 40 + 6

    def test_is_not_for_a_command(self, make: Any, servicer: Servicer) -> None:
        stub = greeter(make())

        assert refusal(lambda: hello(stub, "UNAVAILABLE")).code() is CODES.UNAVAILABLE
        assert servicer.calls == 1


class TestTheCircuit:
    @pytest.mark.parametrize("name", ["UNAVAILABLE", "INTERNAL", "UNKNOWN"])
    def test_opens_when_the_callee_is_in_trouble(
        self, make: Any, servicer: Servicer, name: str
    ) -> None:
        stub = greeter(make())
        ten_times(lambda: hello(stub, name))

        error = refusal(lambda: hello(stub))

        assert servicer.calls == 10
        assert (error.code(), error.reason, error.domain) == (
            CODES.UNAVAILABLE,
            "CIRCUIT_OPEN",
            "portico",
        )
        assert error.metadata["target"] == "callee"
        assert 0 < float(error.metadata["retry_after"].removesuffix("s")) <= 10

    @pytest.mark.parametrize(
        "name", ["not found", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED", "CANCELLED"]
    )
    def test_stays_closed_when_its_domain_says_no(self, make: Any, name: str) -> None:
        stub = greeter(make())
        ten_times(lambda: hello(stub, name))

        assert hello(stub) == "you"

    def test_stays_closed_when_the_callee_sheds_what_is_too_much(self, make: Any) -> None:
        stub = greeter(make())
        ten_times(lambda: hello(stub, "overloaded"))

        assert hello(stub) == "you"

    def test_stays_closed_for_all_when_one_caller_gives_too_little_time(
        self, make: Any, servicer: Servicer
    ) -> None:
        stub = greeter(make())
        ten_times(lambda: hello(stub, "wait", timeout=0.05))
        servicer.go_on.set()

        assert hello(stub) == "you"

    @pytest.mark.parametrize(
        ("slow_seconds", "edge_seconds"), [(0.05, None), (PATIENCE_SECONDS, 0.05)]
    )
    def test_opens_when_the_callee_does_not_answer_in_time(
        self, make: Any, servicer: Servicer, slow_seconds: float, edge_seconds: float | None
    ) -> None:
        stub = greeter(make(slow_seconds=slow_seconds), timeout_seconds=edge_seconds)
        ten_times(lambda: hello(stub, "wait", timeout=0.05 if edge_seconds is None else None))
        servicer.go_on.set()

        assert refusal(lambda: hello(stub)).reason == "CIRCUIT_OPEN"

    def test_does_not_mind_a_stream_that_is_read_until_its_time_is_up(
        self, make: Any, servicer: Servicer
    ) -> None:
        stub = greeter(make(slow_seconds=0.01))
        for _ in range(10):
            with pytest.raises(grpc.RpcError):
                list(stub.Repeat(pb.RepeatRequest(name="for ever"), timeout=0.05))

        assert [each.message for each in stub.Repeat(pb.RepeatRequest(name="x"))] == ["x"]

    def test_opens_when_calls_are_slow(self, make: Any) -> None:
        stub = greeter(make(slow_seconds=1e-6))
        for _ in range(10):
            hello(stub)

        assert refusal(lambda: hello(stub)).reason == "CIRCUIT_OPEN"

    def test_does_not_mind_how_long_a_stream_takes(self, make: Any) -> None:
        stub = greeter(make(slow_seconds=1e-6))
        for _ in range(12):
            list(stub.Repeat(pb.RepeatRequest(name="x")))

        assert len(list(stub.Repeat(pb.RepeatRequest(name="x")))) == 1

    @pytest.mark.parametrize(
        "call",
        [
            pytest.param(lambda stub: hello(stub, "INTERNAL"), id="unary"),
            pytest.param(
                lambda stub: stub.SayHello.with_call(pb.SayHelloRequest(name="INTERNAL")),
                id="with_call",
            ),
            pytest.param(
                lambda stub: stub.SayHello.future(pb.SayHelloRequest(name="INTERNAL")).result(),
                id="future",
            ),
            pytest.param(
                lambda stub: list(stub.Repeat(pb.RepeatRequest(name="INTERNAL"))), id="stream"
            ),
            pytest.param(
                lambda stub: stub.Gather(iter([pb.GatherRequest(name="INTERNAL")])),
                id="stream of requests",
            ),
        ],
    )
    def test_counts_every_kind_of_call(self, make: Any, call: Callable[[Any], Any]) -> None:
        stub = greeter(make())
        ten_times(lambda: call(stub))

        until = time.monotonic() + PATIENCE_SECONDS  # a stream's end is told a moment later
        while time.monotonic() < until:
            error = refusal(lambda: call(stub))
            if error.reason == "CIRCUIT_OPEN":
                break
        assert error.reason == "CIRCUIT_OPEN"

    def test_that_is_open_is_told_by_futures_and_streams_themselves(self, make: Any) -> None:
        stub = greeter(make())
        ten_times(lambda: hello(stub, "INTERNAL"))

        for rpc in (
            stub.SayHello.future(pb.SayHelloRequest()),
            stub.Repeat(pb.RepeatRequest()),
            stub.Chat(iter([])),
            stub.Gather.future(iter([])),
        ):
            assert rpc.code() is CODES.UNAVAILABLE
            assert rpc.exception().reason == "CIRCUIT_OPEN"

    def test_of_commands_leaves_queries_alone(self, make: Any) -> None:
        peer = make()
        ten_times(lambda: hello(greeter(peer), "INTERNAL"))
        hop = hop_pb2_grpc.HopServiceStub(peer.channel())

        assert hop.Hop(hop_pb2.HopRequest(number=3), timeout=PATIENCE_SECONDS).number == 3
        assert refusal(lambda: hello(greeter(peer))).reason == "CIRCUIT_OPEN"

    def test_closes_when_the_callee_is_well_again(self, make: Any) -> None:
        stub = greeter(make(open_seconds=0.1))
        ten_times(lambda: hello(stub, "INTERNAL"))
        time.sleep(0.11)

        assert [hello(stub) for _ in range(10)] == ["you"] * 10

    def test_can_be_switched_off(self, make: Any) -> None:
        stub = greeter(make(breaker=False))
        ten_times(lambda: hello(stub, "INTERNAL"))

        assert hello(stub) == "you"

    def test_is_told_to_whoever_measures(self, server: Server) -> None:
        metrics = Metrics()
        peer = Peer(server.address, services=(), process="callee", metrics=metrics)
        stub = greeter(peer)
        ten_times(lambda: hello(stub, "INTERNAL"))
        refusal(lambda: hello(stub))
        peer.close()

        told = metrics.render()[0].decode()
        assert 'portico_circuit_state{group="commands",target="callee"} 2.0' in told
        assert 'portico_circuit_state{group="queries",target="callee"} 0.0' in told
        assert 'portico_circuit_refused_total{group="commands",target="callee"} 1.0' in told
        assert 'portico_remote_calls_in_flight{target="callee"} 0.0' in told


class TestTheBulkhead:
    def test_refuses_a_call_too_many_at_once(self, make: Any, servicer: Servicer) -> None:
        stub = greeter(make(most_calls=2))
        running = [stub.SayHello.future(pb.SayHelloRequest(name="wait")) for _ in range(2)]
        for _ in running:
            assert servicer.waiting.acquire(timeout=PATIENCE_SECONDS)

        error = refusal(lambda: hello(stub))

        assert (error.code(), error.reason) == (CODES.RESOURCE_EXHAUSTED, "BULKHEAD_FULL")
        assert error.metadata == {"target": "callee", "most_calls": "2"}
        servicer.go_on.set()
        assert [rpc.result().message for rpc in running] == ["wait"] * 2

    def test_gets_back_what_calls_took(self, make: Any) -> None:
        stub = greeter(make(most_calls=1))
        for _ in range(3):
            assert hello(stub) == "you"
            assert refusal(lambda: hello(stub, "not found")).code() is CODES.NOT_FOUND
            assert refusal(lambda: hello(stub, "CANCELLED")).code() is CODES.CANCELLED

    def test_gets_back_what_a_dropped_stream_took(self, make: Any, servicer: Servicer) -> None:
        stub = greeter(make(most_calls=1))
        stream = stub.Repeat(pb.RepeatRequest(name="for ever"))
        next(stream)
        assert refusal(lambda: hello(stub)).reason == "BULKHEAD_FULL"

        del stream
        gc.collect()

        until = time.monotonic() + PATIENCE_SECONDS
        said = ""
        while not said and time.monotonic() < until:
            try:
                said = hello(stub)
            except StatusError:
                time.sleep(0.01)
        assert said == "you"


class TestRenewing:
    def test_fails_no_call_that_is_under_way(self, make: Any, servicer: Servicer) -> None:
        peer = make()
        stub = greeter(peer)
        future = stub.SayHello.future(pb.SayHelloRequest(name="wait"))
        blocking: list[str] = []
        thread = threading.Thread(target=lambda: blocking.append(hello(stub, "wait")))
        thread.start()
        stream = stub.Repeat(pb.RepeatRequest(name="for ever"))
        for _ in range(3):
            assert servicer.waiting.acquire(timeout=PATIENCE_SECONDS)
        next(stream)

        for _ in range(3):
            peer.renew()
            gc.collect()
            assert hello(stub) == "you"

        servicer.go_on.set()
        thread.join(PATIENCE_SECONDS)
        assert future.result().message == "wait"
        assert blocking == ["wait"]
        assert next(stream).message == "for ever"
        stream.cancel()

    def test_takes_every_call_over_the_new_connection(self, make: Any) -> None:
        peer = make()
        stub = greeter(peer)
        hello(stub)
        old = peer._link.channel

        peer.renew()
        old.close()

        assert hello(stub) == "you"
        assert len(list(stub.Repeat(pb.RepeatRequest(name="x")))) == 1

    def test_lets_the_old_connection_go(self, make: Any) -> None:
        peer = make()
        hello(greeter(peer))
        old = weakref.ref(peer._link.channel)

        peer.renew()
        gc.collect()

        assert old() is None


def test_calls_take_turns_over_several_addresses(servicer: Servicer, make: Any) -> None:
    other = Servicer()
    second = serving(other)
    first = serving(servicer)
    stub = greeter(make(f"{first.address},{second.address}"))
    until = time.monotonic() + PATIENCE_SECONDS
    while not (servicer.calls and other.calls) and time.monotonic() < until:
        hello(stub)

    assert servicer.calls
    assert other.calls

    first.stop(0)
    for _ in range(20):
        with contextlib.suppress(StatusError):  # one that was on its way when its server went
            hello(stub)
    before = other.calls
    assert [hello(stub) for _ in range(5)] == ["you"] * 5
    assert other.calls == before + 5
    second.stop(0)


def test_a_server_that_says_it_leaves_is_called_no_more(servicer: Servicer, make: Any) -> None:
    other = Servicer()
    second = serving(other)
    first = serving(servicer)
    stub = greeter(make(f"{first.address},{second.address}"))
    until = time.monotonic() + PATIENCE_SECONDS
    while not (servicer.calls and other.calls) and time.monotonic() < until:
        hello(stub)

    first._health.leaving()  # it still answers
    in_a_row, before = 0, servicer.calls
    while in_a_row < 10 and time.monotonic() < until:
        hello(stub)
        in_a_row = in_a_row + 1 if servicer.calls == before else 0
        before = servicer.calls

    assert in_a_row == 10
    first.stop(0)
    second.stop(0)


def test_a_server_that_came_back_is_found(servicer: Servicer, make: Any) -> None:
    first = serving(servicer)
    stub = greeter(make(first.address, breaker=False))
    hello(stub)
    first.stop(0)
    refusal(lambda: hello(stub))

    again = serving(servicer, port=first.port)
    until, said = time.monotonic() + PATIENCE_SECONDS, ""
    while not said and time.monotonic() < until:
        try:
            said = hello(stub)
        except StatusError:
            time.sleep(0.05)

    assert said == "you"
    again.stop(0)


def test_closing_a_modules_channel_leaves_the_connection_to_the_others(make: Any) -> None:
    peer = make()
    with peer.channel(caller="orders") as channel:
        hello(stubs.GreeterServiceStub(channel))

    assert hello(greeter(peer)) == "you"


class TestAnOverloadedServer:
    @pytest.fixture
    def server(self, servicer: Servicer) -> Iterator[Server]:
        server = serving(
            servicer, threads=1, admission=Admission(most_waiting=1, patience_seconds=60)
        )
        yield server
        servicer.go_on.set()
        server.stop(0)

    @pytest.fixture
    def stub(self, make: Any, server: Server, servicer: Servicer) -> Any:
        """One call runs and one waits: the next is one too many."""
        stub = greeter(make())
        self.running = [stub.SayHello.future(pb.SayHelloRequest(name="wait"))]
        assert servicer.waiting.acquire(timeout=PATIENCE_SECONDS)
        self.running.append(stub.SayHello.future(pb.SayHelloRequest(name="wait")))
        until = time.monotonic() + PATIENCE_SECONDS
        while server._workers.waiting < 1:
            assert time.monotonic() < until
            time.sleep(0.01)
        return stub

    @pytest.mark.parametrize(
        "call",
        [
            pytest.param(hello, id="unary"),
            pytest.param(lambda stub: list(stub.Repeat(pb.RepeatRequest())), id="stream"),
            pytest.param(lambda stub: stub.Gather(iter([])), id="stream of requests"),
            pytest.param(lambda stub: list(stub.Chat(iter([]))), id="stream each way"),
        ],
    )
    def test_refuses_at_once_and_says_why(
        self, stub: Any, servicer: Servicer, call: Callable[[Any], Any]
    ) -> None:
        error = refusal(lambda: call(stub))

        assert error.code() is CODES.RESOURCE_EXHAUSTED
        assert (error.reason, error.domain) == ("OVERLOADED", "portico")
        assert any(b"RetryInfo" in value for _, value in error.trailing_metadata())
        assert servicer.calls == 1

    def test_serves_what_it_accepted(self, stub: Any, servicer: Servicer) -> None:
        refusal(lambda: hello(stub))
        servicer.go_on.set()

        assert [rpc.result().message for rpc in self.running] == ["wait"] * 2
        assert hello(stub) == "you"

    def test_lets_threads_take_short_turns_until_it_is_calm(
        self, stub: Any, server: Server, servicer: Servicer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usual = sys.getswitchinterval()
        refusal(lambda: hello(stub))
        assert sys.getswitchinterval() < usual
        servicer.go_on.set()
        for rpc in self.running:
            rpc.result()
        assert hello(stub) == "you"
        assert sys.getswitchinterval() < usual

        monkeypatch.setattr(shedding, "_CALM_SECONDS", 0)
        assert hello(stub) == "you"
        assert sys.getswitchinterval() == usual

    def test_lets_them_take_their_usual_turns_when_it_has_stopped(
        self, stub: Any, server: Server, servicer: Servicer
    ) -> None:
        usual = sys.getswitchinterval()
        refusal(lambda: hello(stub))
        servicer.go_on.set()

        server.stop(PATIENCE_SECONDS)

        assert sys.getswitchinterval() == usual

    def test_still_tells_its_health_and_its_services(self, stub: Any, server: Server) -> None:
        from grpc_health.v1 import health_pb2, health_pb2_grpc
        from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

        with grpc.insecure_channel(server.address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            answer = health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS / 4)
            watched = health.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS)
            assert answer.status == next(watched).status == health_pb2.HealthCheckResponse.SERVING
            watched.cancel()
            asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
            reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
            told = next(reflection.ServerReflectionInfo(asked, timeout=PATIENCE_SECONDS))
            assert told.list_services_response.service

    def test_is_told_to_whoever_measures(self, stub: Any, server: Server) -> None:
        metrics = Metrics()
        server.measure(metrics, listener="hop")
        refusal(lambda: hello(stub))

        told = metrics.render()[0].decode()
        assert 'portico_waiting_calls{listener="hop"} 1.0' in told
        assert 'portico_shed_calls_total{listener="hop"} 1.0' in told
