"""A small application for a supervisor: one module, no database."""

from __future__ import annotations

from typing import Any

from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as pb_grpc

from portico import Application, Module


class Greeter(pb_grpc.GreeterServiceServicer):
    def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
        return pb.SayHelloResponse(message=f"Hello, {request.name}!")


application = Application(
    name="hello",
    modules=[
        Module(name="greeter", provides={pb_grpc.add_GreeterServiceServicer_to_server: Greeter})
    ],
)
