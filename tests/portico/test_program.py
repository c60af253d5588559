"""What an application without a database does when it starts, serves and stops."""

from __future__ import annotations

import threading
from typing import Any

import grpc
import pytest
from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as pb_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import BaseModel, ConfigDict

from portico import Application, Module, Settings
from portico.module import ModuleError


class Greeter(pb_grpc.GreeterServiceServicer):
    def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
        return pb.SayHelloResponse(message=f"Hello, {request.name}!")


PROVIDES = {pb_grpc.add_GreeterServiceServicer_to_server: Greeter}
ANY_PORT = Settings(grpc_port=0, http_port=0)


def _application(**options: Any) -> Application:
    return Application(name="hello", modules=[Module(name="greeter", provides=PROVIDES, **options)])


def test_a_stub_gets_the_same_answer_in_the_process_and_over_a_socket() -> None:
    with _application().running(ANY_PORT) as program:
        local = pb_grpc.GreeterServiceStub(program.channel())
        assert local.SayHello(pb.SayHelloRequest(name="you")).message == "Hello, you!"
        with grpc.insecure_channel(program.grpc_address) as channel:
            remote = pb_grpc.GreeterServiceStub(channel)
            assert remote.SayHello(pb.SayHelloRequest(name="you")).message == "Hello, you!"


def test_health_is_told_per_service() -> None:
    with (
        _application().running(ANY_PORT) as program,
        grpc.insecure_channel(program.grpc_address) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "examples.greeter.v1.GreeterService"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as failed:
            health.Check(health_pb2.HealthCheckRequest(service="unknown.Service"))
        assert failed.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_taken_port_stops_the_start_with_its_address() -> None:
    with _application().running(ANY_PORT) as program:
        port = int(program.grpc_address.rpartition(":")[2])
        with (
            pytest.raises(OSError, match=f"127.0.0.1:{port}"),
            _application().running(Settings(grpc_port=port, http_port=0)),
        ):
            raise AssertionError("two programs share a port")


def test_a_stop_lets_a_running_call_finish_and_refuses_new_ones() -> None:
    entered, release = threading.Event(), threading.Event()

    class Slow(pb_grpc.GreeterServiceServicer):
        def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
            entered.set()
            release.wait(10)
            return pb.SayHelloResponse(message="late but whole")

    module = Module(name="greeter", provides={pb_grpc.add_GreeterServiceServicer_to_server: Slow})
    with (
        Application(name="slow", modules=[module]).running(ANY_PORT) as program,
        grpc.insecure_channel(program.grpc_address) as channel,
    ):
        stub = pb_grpc.GreeterServiceStub(channel)
        running = stub.SayHello.future(pb.SayHelloRequest(name="first"), timeout=10)
        assert entered.wait(5)
        stopping = threading.Thread(target=program.stop)
        stopping.start()
        threading.Timer(0.2, release.set).start()
        assert running.result().message == "late but whole"
        stopping.join(10)
        with pytest.raises(grpc.RpcError) as refused:
            stub.SayHello(pb.SayHelloRequest(name="second"), timeout=2)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_module_whose_constructor_cannot_be_satisfied_is_named() -> None:
    class Needy(Greeter):
        def __init__(self, nothing: threading.Barrier) -> None:
            self.nothing = nothing

    module = Module(name="greeter", provides={pb_grpc.add_GreeterServiceServicer_to_server: Needy})
    with (
        pytest.raises(ModuleError, match=r"module greeter: .*Needy"),
        Application(name="needy", modules=[module]).running(ANY_PORT),
    ):
        raise AssertionError("it started")


def test_a_module_gets_its_section_of_the_settings() -> None:
    class Section(BaseModel):
        model_config = ConfigDict(frozen=True)
        greeting: str = "Hi"

    class Configured(pb_grpc.GreeterServiceServicer):
        def __init__(self, section: Section) -> None:
            self._section = section

        def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
            return pb.SayHelloResponse(message=f"{self._section.greeting}, {request.name}!")

    module = Module(
        name="greeter",
        provides={pb_grpc.add_GreeterServiceServicer_to_server: Configured},
        settings=Section,
    )
    application = Application(name="configured", modules=[module])
    settings = application.settings_class().load(
        environment={
            "PORTICO_GRPC_PORT": "0",
            "PORTICO_HTTP_PORT": "0",
            "PORTICO_GREETER__GREETING": "Good day",
        }
    )
    with application.running(settings) as program:
        stub = pb_grpc.GreeterServiceStub(program.channel())
        assert stub.SayHello(pb.SayHelloRequest(name="you")).message == "Good day, you!"
