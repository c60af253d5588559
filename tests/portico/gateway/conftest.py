from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from portico import errors
from portico.gateway import Gateway, HttpServer, Limits, listen
from portico.rpc.local import LocalChannel

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
SERVICE = "library.v1.Library"


@pytest.fixture(scope="session")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The tests' own contract, compiled as a user of the kernel compiles theirs."""
    out = tmp_path_factory.mktemp("generated")
    imports = [HERE, *_roots("grpc_tools", "_proto"), *_roots("google.api", "../..")]
    protos = HERE.parents[2] / "protos"
    flags = [f"-I{each}" for each in (*imports, protos)]
    outs = [f"--python_out={out}", f"--grpc_python_out={out}"]
    protoc: Any = importlib.import_module("grpc_tools.protoc")  # has no types
    assert protoc.main(["protoc", *flags, *outs, "library.proto"]) == 0
    sys.path.insert(0, str(out))
    try:
        messages = importlib.import_module("library_pb2")
        services = importlib.import_module("library_pb2_grpc")
    finally:
        sys.path.remove(str(out))
    return SimpleNamespace(messages=messages, services=services)


def _roots(package: str, below: str) -> list[Path]:
    found = importlib.util.find_spec(package)
    assert found is not None
    return [Path(each) / below for each in found.submodule_search_locations or ()]


class Library:
    """Answers with what it is asked."""

    def __init__(self, messages: Any) -> None:
        self.messages = messages
        self.napping = threading.Semaphore(0)
        self.wake = threading.Event()
        self.cancelled = threading.Event()

    def _echo(self, request: Any, context: Any) -> Any:
        return request

    ListBooks = GetBook = CreateBook = UpdateBook = Borrow = Purge = _echo
    AnyMethod = Popular = Upload = Raw = Mirror = Unrouted = Collect = _echo

    def TitleOf(self, request: Any, context: Any) -> Any:
        return request.book

    def DeleteBook(self, request: Any, context: Any) -> Any:
        return self.messages.google_dot_protobuf_dot_empty__pb2.Empty()

    def Download(self, request: Any, context: Any) -> Any:
        return self.messages.FileRequest(
            content={"content_type": "text/plain", "data": request.path.encode()}
        ).content

    def Headers(self, request: Any, context: Any) -> Any:
        return self.messages.Sent(
            headers=dict(context.invocation_metadata()), time_left=context.time_remaining()
        )

    def Fail(self, request: Any, context: Any) -> Any:
        if request.how == "bug":
            raise RuntimeError("password=hunter2")
        if request.how == "typed":
            raise errors.not_found("BOOK_NOT_FOUND", "no such book", name="b1")
        if request.how == "fields":
            raise errors.invalid_argument(
                "INVALID_REQUEST",
                "some_books[0].page_count: too many",
                violations=[
                    errors.Violation("some_books[0].page_count", "too many", "int32.lte"),
                    errors.Violation('some_books[0].author["x_y"].family_name', "unknown"),
                ],
            )
        code = next(each for each in grpc.StatusCode if each.value[0] == request.code)
        context.abort(code, request.how or "because")

    def Watch(self, request: Any, context: Any) -> Iterator[Any]:
        context.add_callback(self.cancelled.set)
        for number in range(request.count):
            if request.fail_after and number == request.fail_after:
                raise errors.failed_precondition("TORN", "a page is torn")
            yield self.messages.Book(name=f"b{number}", title="x" * request.title_bytes)
        if request.fail_after and request.count == 0:
            raise errors.not_found("NO_BOOKS", "no books")
        if request.wait_at_end:
            while context.is_active():
                time.sleep(0.005)

    def Tail(self, request: Any, context: Any) -> Iterator[Any]:
        for number in range(request.count):
            content = {"content_type": "text/csv", "data": b"%d," % number}
            yield self.messages.FileRequest(content=content).content

    def Nap(self, request: Any, context: Any) -> Any:
        self.napping.release()
        self.wake.wait(30)
        return request


@pytest.fixture(scope="session")
def servicer(contract: Any) -> Any:
    return Library(contract.messages)


@pytest.fixture(scope="session")
def channel(contract: Any, servicer: Any) -> LocalChannel:
    channel = LocalChannel()
    contract.services.add_LibraryServicer_to_server(servicer, channel)
    return channel


@pytest.fixture(scope="session")
def gateway(channel: LocalChannel) -> Gateway:
    return Gateway(channel, [SERVICE])


LIMITS = Limits(
    body_bytes=64 * 1024,
    head_bytes=4096,
    target_bytes=1024,
    headers=30,
    head_seconds=0.3,
    body_seconds=0.3,
    send_seconds=0.3,
    connections=150,
    streams=2,
)


@pytest.fixture(scope="module")
def served(contract: Any) -> Iterator[Any]:
    """A gateway with small limits on a real socket."""
    yield from _serve(contract)


@pytest.fixture
def fresh(contract: Any) -> Iterator[Any]:
    """As ``served``, for a test that leaves it in another state."""
    yield from _serve(contract)


def _serve(contract: Any) -> Iterator[Any]:
    servicer = Library(contract.messages)
    channel = LocalChannel()
    contract.services.add_LibraryServicer_to_server(servicer, channel)
    gateway = Gateway(channel, [SERVICE], limits=LIMITS)
    server = HttpServer(gateway, listener=listen(host="127.0.0.1", port=0), threads=4)
    server.start()
    yield SimpleNamespace(server=server, servicer=servicer, port=server.port)
    servicer.wake.set()
    server.stop(5)
