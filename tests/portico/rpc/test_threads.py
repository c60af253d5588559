"""Threads: no more than allowed, and none left behind."""

from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as stubs

from portico.errors import StatusError
from portico.rpc.local import LocalChannel
from portico.rpc.registry import Registry
from portico.rpc.threads import Threads
from portico.rpc.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_SECONDS = 20


class Servicer(stubs.GreeterServiceServicer):
    """Waits to be let go, except for "quick" and "fail"."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
        self._act(request.name)
        return pb.SayHelloResponse(message=request.name)

    def Repeat(self, request: pb.RepeatRequest, context: Any) -> Iterator[pb.RepeatResponse]:
        while True:
            self._act(request.name)
            yield pb.RepeatResponse(message="x" * 1000)

    def Gather(self, request_iterator: Any, context: Any) -> pb.GatherResponse:
        self._act(next(request_iterator).name)
        return pb.GatherResponse()

    def Chat(self, request_iterator: Any, context: Any) -> Iterator[pb.ChatResponse]:
        for request in request_iterator:
            self._act(request.name)
            yield pb.ChatResponse(message=request.name)

    def _act(self, name: str) -> None:
        if name == "fail":
            raise ValueError("private")
        if name != "quick":
            self.go_on.wait(PATIENCE_SECONDS)


@pytest.fixture
def servicer() -> Iterator[Servicer]:
    servicer = Servicer()
    yield servicer
    servicer.go_on.set()


def channel(servicer: Servicer, *, most: int = 512) -> LocalChannel:
    registry: Any = Registry(threads=Threads(most))
    stubs.add_GreeterServiceServicer_to_server(servicer, registry.registrar("greeter"))
    return LocalChannel(registry)


def running() -> int:
    return sum(thread.name == "portico-call" for thread in threading.enumerate())


def none_is_left() -> bool:
    until = time.monotonic() + PATIENCE_SECONDS
    while running() and time.monotonic() < until:
        gc.collect()
        time.sleep(0.005)
    return running() == 0


class TestABound:
    def test_refuses_what_is_beyond_it(self, servicer: Servicer) -> None:
        stub = stubs.GreeterServiceStub(channel(servicer, most=2))
        first = [stub.SayHello.future(pb.SayHelloRequest(name="wait")) for _ in range(2)]

        refused = [
            stub.SayHello.future(pb.SayHelloRequest()),
            stub.Repeat(pb.RepeatRequest()),
            stub.Gather.future(iter(())),
            stub.Chat(iter(())),
        ]

        for call in refused:
            assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        with pytest.raises(StatusError):
            next(refused[1])  # type: ignore[call-overload]
        with pytest.raises(StatusError):
            stub.Gather(iter(()))
        servicer.go_on.set()
        assert [each.result().message for each in first] == ["wait"] * 2

    def test_counts_both_threads_of_a_stream_of_requests(self, servicer: Servicer) -> None:
        stub = stubs.GreeterServiceStub(channel(servicer, most=1))

        assert stub.Chat(iter(())).code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    def test_lets_others_in_when_calls_have_ended(self, servicer: Servicer) -> None:
        stub = stubs.GreeterServiceStub(channel(servicer, most=2))

        for _ in range(10):
            assert stub.Gather(iter([pb.GatherRequest(name="quick")])) == pb.GatherResponse()
            assert none_is_left()

    def test_does_not_concern_calls_in_the_callers_own_thread(self, servicer: Servicer) -> None:
        stub = stubs.GreeterServiceStub(channel(servicer, most=0))

        assert stub.SayHello(pb.SayHelloRequest(name="quick")).message == "quick"

    def test_is_shared_by_all_channels_to_the_same_servicers(self, servicer: Servicer) -> None:
        first = channel(servicer, most=1)
        second = LocalChannel(first.registry)
        held = stubs.GreeterServiceStub(first).SayHello.future(pb.SayHelloRequest(name="wait"))

        call = stubs.GreeterServiceStub(second).SayHello.future(pb.SayHelloRequest())

        assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        held.cancel()


def _read_some(stub: Any) -> None:
    call = stub.Repeat(pb.RepeatRequest(name="quick"))
    for _ in range(20):
        next(call)


def _cancel(stub: Any) -> None:
    call = stub.Chat(iter([pb.ChatRequest(name="quick")] * 3))
    next(call)
    call.cancel()


def _fail(stub: Any) -> None:
    with pytest.raises(StatusError):
        stub.SayHello.future(pb.SayHelloRequest(name="fail")).result()


def _fail_in_the_requests(stub: Any) -> None:
    with pytest.raises(StatusError):
        stub.Gather(iter([1]))


def _run_out_of_time(stub: Any) -> None:
    call = stub.Repeat(pb.RepeatRequest(name="quick"), timeout=0.05)
    with pytest.raises(StatusError):
        for _ in call:
            pass


def _never_read(stub: Any) -> None:
    stub.Repeat(pb.RepeatRequest(name="quick"))


def _end_early(stub: Any) -> None:
    endless = iter(lambda: pb.GatherRequest(name="quick"), None)
    stub.Gather(endless)


@pytest.mark.parametrize(
    "use",
    [_read_some, _cancel, _fail, _fail_in_the_requests, _run_out_of_time, _never_read, _end_early],
)
def test_no_thread_is_left_of_a_call_that_has_ended(
    servicer: Servicer, use: Callable[[Any], None]
) -> None:
    use(stubs.GreeterServiceStub(channel(servicer)))

    assert none_is_left()


def test_no_thread_and_no_call_is_left_of_a_channel_that_was_closed(servicer: Servicer) -> None:
    local = channel(servicer)
    stub = stubs.GreeterServiceStub(local)
    calls = [stub.Repeat(pb.RepeatRequest(name="quick")) for _ in range(5)]

    local.close()

    assert not local.under_way
    assert {call.code() for call in calls} == {grpc.StatusCode.CANCELLED}
    assert none_is_left()


def _say_hello(stub: Any) -> None:
    stub.SayHello(pb.SayHelloRequest(name="quick"))


def _say_hello_in_the_future(stub: Any) -> None:
    stub.SayHello.future(pb.SayHelloRequest(name="quick")).result()


def _chat(stub: Any) -> None:
    list(stub.Chat(iter([pb.ChatRequest(name="quick")] * 3)))


@pytest.mark.parametrize("use", [_say_hello, _say_hello_in_the_future, _chat])
def test_a_call_leaves_no_garbage(servicer: Servicer, use: Callable[[Any], None]) -> None:
    stub = stubs.GreeterServiceStub(channel(servicer))
    use(stub)
    assert none_is_left()
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            use(stub)
        until = time.monotonic() + PATIENCE_SECONDS
        while running() and time.monotonic() < until:
            time.sleep(0.005)
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_a_stream_may_be_read_by_several_threads(servicer: Servicer) -> None:
    call = stubs.GreeterServiceStub(channel(servicer)).Chat(
        pb.ChatRequest(name="quick") for _ in range(500)
    )

    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(lambda _: sum(1 for _ in call), range(4)))

    assert sum(counts) == 500


def test_a_thread_that_cannot_start_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads(2)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(3):
            with pytest.raises(StatusError) as caught:
                threads.start(lambda: None, lambda: None)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert caught.value.message == "can't start new thread"

    threads.start(lambda: None, lambda: None)


class TestWorkers:
    def test_do_the_work_and_tell(self) -> None:
        workers, done = Workers(2), threading.Event()
        workers.start()
        results: list[int] = []

        task = workers.submit(lambda a, *, b: results.append(a + b), 1, b=2)
        task.add_done_callback(lambda _: done.set())

        assert done.wait(PATIENCE_SECONDS)
        assert results == [3]
        workers.stop()

    def test_tell_at_once_when_the_work_is_done_already(self) -> None:
        workers, early = Workers(1), threading.Event()
        workers.start()
        task = workers.submit(lambda: None)
        task.add_done_callback(lambda _: early.set())
        early.wait(PATIENCE_SECONDS)
        told: list[Any] = []

        task.add_done_callback(told.append)

        assert told == [task]
        workers.stop()

    def test_tell_everybody_once_however_the_threads_meet(self) -> None:
        workers = Workers(4)
        workers.start()
        told: list[int] = []
        ended = threading.Semaphore(0)

        def tell(number: int) -> None:
            told.append(number)
            ended.release()

        for number in range(2000):
            task = workers.submit(lambda: None)
            task.add_done_callback(lambda _, number=number: tell(number))  # type: ignore[misc]

        for _ in range(2000):
            assert ended.acquire(timeout=PATIENCE_SECONDS)
        assert sorted(told) == list(range(2000))
        workers.stop()

    def test_outlive_work_that_raises(self) -> None:
        workers, done = Workers(1), threading.Event()
        workers.start()

        def fail() -> None:
            raise SystemExit

        workers.submit(fail)
        workers.submit(done.set)

        assert done.wait(PATIENCE_SECONDS)
        workers.stop()

    def test_end_when_they_are_stopped_and_have_done_what_waited(self) -> None:
        workers, done = Workers(1), threading.Event()
        workers.submit(done.set)
        workers.stop()
        workers.start()

        assert done.wait(PATIENCE_SECONDS)
