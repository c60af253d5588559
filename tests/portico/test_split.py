"""An application in two processes: what a client of the front sees of it, and what is turned off."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from commerce.catalog.v1 import catalog_service_pb2 as catalog_pb
from commerce.catalog.v1 import catalog_service_pb2_grpc as catalog_grpc
from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as pb_grpc
from google.rpc import error_details_pb2, status_pb2
from pydantic import SecretStr

from portico import Application, Module, Program, Settings, StatusError, errors
from portico.context import current
from portico.settings import SettingsError

SECRET = "a secret of sixteen characters or more"
SPLIT = """
[processes.edge]
front = true
[processes.core]
modules = ["greeter"]
"""


class Greeter(pb_grpc.GreeterServiceServicer):
    """One rpc of each kind, and what it is told along the way."""

    def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
        if request.name == "nobody":
            context.set_trailing_metadata((("seen", "nobody"),))
            raise errors.not_found("NOBODY", "there is nobody", name=request.name)
        if request.name == "slow":
            time.sleep(0.3)
        told = dict(context.invocation_metadata())
        context.send_initial_metadata((("greeted", "yes"),))
        context.set_trailing_metadata((("token", str(told.get("authorization", "none"))),))
        return pb.SayHelloResponse(message=f"Hello, {request.name}! {current().request_id}")

    def Repeat(self, request: pb.RepeatRequest, context: Any) -> Iterator[pb.RepeatResponse]:
        for _ in range(request.times):
            yield pb.RepeatResponse(message="again")
        if request.times > 3:
            raise errors.out_of_range("TOO_OFTEN", "more than three times")

    def Gather(self, request_iterator: Any, context: Any) -> pb.GatherResponse:
        names = [each.name for each in request_iterator]
        return pb.GatherResponse(message=", ".join(names))

    def Chat(self, request_iterator: Any, context: Any) -> Iterator[pb.ChatResponse]:
        for each in request_iterator:
            yield pb.ChatResponse(message=each.name.upper())


GREETER = Module(name="greeter", provides={pb_grpc.add_GreeterServiceServicer_to_server: Greeter})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def started(application: Application, file: Path, *, front: str) -> Iterator[Program]:
    """Every process of the topology, each as a program of this test; the value is the front."""
    processes = application.topology(file).processes
    addresses = {name: f"127.0.0.1:{free_port()}" for name in processes}
    found = {}
    with ExitStack() as stack:
        for name in processes:
            settings = Settings(
                topology=file,
                process=name,
                addresses=addresses,
                hop_secret=SecretStr(SECRET),
                grpc_port=0,
                http_port=0,
            )
            found[name] = stack.enter_context(application.running(settings))
        yield found[front]


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    file = tmp_path_factory.mktemp("split") / "split.toml"
    file.write_text(SPLIT)
    with started(Application(name="hello", modules=[GREETER]), file, front="edge") as program:
        yield program


@pytest.fixture(scope="module")
def stub(edge: Program) -> Iterator[Any]:
    with grpc.insecure_channel(edge.grpc_address) as channel:
        yield pb_grpc.GreeterServiceStub(channel)


def test_a_unary_call_is_handed_on_with_all_that_belongs_to_it(stub: Any) -> None:
    metadata = (("authorization", "Bearer x"), ("x-request-id", "mine"))

    response, call = stub.SayHello.with_call(pb.SayHelloRequest(name="you"), metadata=metadata)

    assert response.message == "Hello, you! mine"
    assert ("greeted", "yes") in tuple(call.initial_metadata())
    assert ("token", "Bearer x") in tuple(call.trailing_metadata())


def test_streams_of_every_kind_are_handed_on(stub: Any) -> None:
    assert len(list(stub.Repeat(pb.RepeatRequest(times=3)))) == 3
    names = [pb.GatherRequest(name=name) for name in ("a", "b")]
    assert stub.Gather(iter(names)).message == "a, b"
    chat = stub.Chat(iter([pb.ChatRequest(name="x"), pb.ChatRequest(name="y")]))
    assert [each.message for each in chat] == ["X", "Y"]


def test_a_refusal_comes_back_whole(stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        stub.SayHello(pb.SayHelloRequest(name="nobody"))

    assert failed.value.code() is grpc.StatusCode.NOT_FOUND
    assert failed.value.details() == "there is nobody"
    told: Any = failed.value.trailing_metadata()
    trailers: dict[str, Any] = dict(told)
    assert trailers["seen"] == "nobody"
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, dict(info.metadata)) == ("NOBODY", {"name": "nobody"})


def test_a_stream_that_fails_gives_its_messages_first(stub: Any) -> None:
    answers = stub.Repeat(pb.RepeatRequest(times=4))
    assert [next(answers).message for _ in range(4)] == ["again"] * 4
    with pytest.raises(grpc.RpcError) as failed:
        next(answers)

    assert failed.value.code() is grpc.StatusCode.OUT_OF_RANGE


def test_a_deadline_goes_along(stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        stub.SayHello(pb.SayHelloRequest(name="slow"), timeout=0.1)

    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_an_unknown_method_is_unimplemented_as_ever(edge: Program) -> None:
    with grpc.insecure_channel(edge.grpc_address) as channel:
        call: Any = channel.unary_unary("/examples.greeter.v1.GreeterService/Nothing")
        with pytest.raises(grpc.RpcError) as failed:
            call(b"")

    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_front_reports_the_services_of_others_healthy_and_a_core_has_no_public_port(
    edge: Program,
) -> None:
    assert edge.greeting().startswith("hello is ready")
    assert edge.placement.elsewhere()[0].name == "core"
    assert not edge.registry.services


@pytest.mark.parametrize("streams", [False, True], ids=["unary", "stream"])
def test_what_is_no_message_is_refused_at_the_front_and_opens_no_circuit(
    edge: Program, stub: Any, *, streams: bool
) -> None:
    with grpc.insecure_channel(edge.grpc_address) as channel:
        hello: Any = channel.unary_unary("/examples.greeter.v1.GreeterService/SayHello")
        gather: Any = channel.stream_unary("/examples.greeter.v1.GreeterService/Gather")
        for _ in range(12):
            with pytest.raises(grpc.RpcError) as failed:
                gather(iter([b"\xff"])) if streams else hello(b"\xff")
            assert failed.value.code() is grpc.StatusCode.INTERNAL

    assert stub.SayHello(pb.SayHelloRequest(name="you")).message.startswith("Hello, you!")


def test_a_split_without_a_secret_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "split.toml"
    file.write_text(SPLIT)
    application = Application(name="hello", modules=[GREETER])
    settings = Settings(topology=file, process="core", addresses={"core": "127.0.0.1:1"})
    with pytest.raises(SettingsError, match="hop_secret is required"):
        Program(application, settings)


def test_passports_do_not_go_in_the_clear_between_machines_in_production(tmp_path: Path) -> None:
    file = tmp_path / "split.toml"
    file.write_text(SPLIT)
    settings = Settings(
        topology=file,
        process="core",
        addresses={"core": f"127.0.0.1:{free_port()}"},
        hop_secret=SecretStr(SECRET),
        hop_host="10.0.0.1",
        profile="production",
    )
    application = Application(name="hello", modules=[GREETER])

    with pytest.raises(SettingsError, match="certificates are required in the production profile"):
        Program(application, settings)
    Program(application, settings.model_copy(update={"profile": "development"}))
    Program(application, settings.model_copy(update={"hop_host": "127.0.0.1"}))


def test_a_neighbour_whose_address_nobody_knows_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "split.toml"
    file.write_text(SPLIT)
    application = Application(name="hello", modules=[GREETER])
    settings = Settings(topology=file, process="edge", hop_secret=SecretStr(SECRET))
    with pytest.raises(SettingsError, match="nobody knows where to call process core"):
        Program(application, settings)


# What is turned off


class Asking(pb_grpc.GreeterServiceServicer):
    """Asks catalog, which it can do without."""

    def __init__(self, catalog: catalog_grpc.CatalogServiceStub) -> None:
        self._catalog = catalog

    def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
        try:
            self._catalog.ListProducts(catalog_pb.ListProductsRequest())
        except StatusError as refusal:
            return pb.SayHelloResponse(message=f"{refusal.code().name} {refusal.reason}")
        return pb.SayHelloResponse(message="there is a catalog")


ASKING = Module(
    name="asking",
    provides={pb_grpc.add_GreeterServiceServicer_to_server: Asking},
    optional=(catalog_grpc.CatalogServiceStub,),
)
CATALOG = Module(
    name="catalog",
    provides={
        catalog_grpc.add_CatalogServiceServicer_to_server: catalog_grpc.CatalogServiceServicer
    },
)


@pytest.fixture
def without_catalog(tmp_path: Path) -> Iterator[Program]:
    file = tmp_path / "less.toml"
    file.write_text('enabled_modules = { catalog = false }\n[processes.all]\nmodules = ["*"]\n')
    application = Application(name="less", modules=[ASKING, CATALOG])
    settings = Settings(topology=file, grpc_port=0, http_port=0)
    with application.running(settings) as program:
        yield program


def test_a_module_that_is_off_answers_unimplemented_and_says_why(without_catalog: Program) -> None:
    with grpc.insecure_channel(without_catalog.grpc_address) as channel:
        catalog = catalog_grpc.CatalogServiceStub(channel)
        for ask in (
            lambda: catalog.ListProducts(catalog_pb.ListProductsRequest()),
            lambda: catalog.CreateProduct(
                catalog_pb.CreateProductRequest()
            ),  # not valid, nor signed in
            lambda: catalog.BatchGetPrices(catalog_pb.BatchGetPricesRequest()),  # internal
        ):
            with pytest.raises(grpc.RpcError) as refused:
                ask()
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert "the module catalog is turned off" in str(refused.value.details())


def test_a_module_that_is_off_is_501_over_rest(without_catalog: Program) -> None:
    connection = http.client.HTTPConnection(urlsplit(without_catalog.http_address).netloc)
    connection.request("GET", "/api/v1/products")
    response = connection.getresponse()
    body = json.loads(response.read())
    connection.close()

    assert response.status == 501
    assert body["details"][0]["reason"] == "MODULE_DISABLED"
    assert body["details"][0]["metadata"] == {"module": "catalog"}


def test_a_module_goes_on_without_an_optional_one(without_catalog: Program) -> None:
    asking = pb_grpc.GreeterServiceStub(without_catalog.channel())

    assert asking.SayHello(pb.SayHelloRequest()).message == "UNIMPLEMENTED MODULE_DISABLED"


# Terms of an edge


def test_the_timeout_of_an_edge_bounds_its_calls_in_one_process_too(tmp_path: Path) -> None:
    class Slow(catalog_grpc.CatalogServiceServicer):
        def ListProducts(self, request: Any, context: Any) -> Any:
            time.sleep(0.1)
            return catalog_pb.ListProductsResponse()

    file = tmp_path / "one.toml"
    file.write_text(
        '[processes.all]\nmodules = ["*"]\n[edges."asking -> catalog"]\ntimeout_ms = 50\n'
    )
    catalog = Module(
        name="catalog", provides={catalog_grpc.add_CatalogServiceServicer_to_server: Slow}
    )
    application = Application(name="terms", modules=[ASKING, catalog])
    settings = Settings(topology=file, grpc_port=0, http_port=0)
    with application.running(settings) as program:
        stub = pb_grpc.GreeterServiceStub(program.channel())
        assert stub.SayHello(pb.SayHelloRequest()).message.startswith("DEADLINE_EXCEEDED")


def test_a_client_is_not_told_where_a_process_would_be(tmp_path: Path) -> None:
    file = tmp_path / "split.toml"
    file.write_text(SPLIT)
    settings = Settings(
        topology=file,
        process="edge",
        addresses={"core": f"127.0.0.1:{free_port()}"},
        hop_secret=SecretStr(SECRET),
        grpc_port=0,
        http_port=0,
    )
    application = Application(name="hello", modules=[GREETER])
    with (
        application.running(settings) as program,
        grpc.insecure_channel(program.grpc_address) as channel,
    ):
        stub = pb_grpc.GreeterServiceStub(channel)
        with pytest.raises(grpc.RpcError) as failed:
            stub.SayHello(pb.SayHelloRequest(name="you"), timeout=5)

    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    assert failed.value.details() == "a part of this service cannot be reached; try again"
