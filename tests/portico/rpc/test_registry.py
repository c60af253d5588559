"""The registry: what generated code and hand-written handlers may add to it."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as stubs
from portico.lab.v1 import hop_pb2_grpc

from portico.rpc.contract import Access, described
from portico.rpc.registry import Registry

GREETER = "examples.greeter.v1.GreeterService"
base: Any = stubs.GreeterServiceServicer


def handlers(service: str, *names: str) -> Any:
    def echo(request: bytes, context: Any) -> bytes:
        return request

    made: dict[str, Any] = {name: grpc.unary_unary_rpc_method_handler(echo) for name in names}
    return grpc.method_handlers_generic_handler(service, made)


@pytest.fixture
def registry() -> Registry:
    return Registry()


def test_it_finds_what_generated_code_adds(registry: Registry) -> None:
    stubs.add_GreeterServiceServicer_to_server(base(), _any(registry.registrar("hello")))

    found = registry.find(f"/{GREETER}/Chat")

    assert found is not None
    assert found.module == "hello"
    assert (found.method.client_streaming, found.method.server_streaming) == (True, True)
    assert found.method.request_class is pb.ChatRequest
    assert found.method.access is None
    assert not found.method.query
    assert registry.find("/other/Chat") is None
    assert dict(registry.services) == {GREETER: "hello"}
    assert len(list(registry)) == 4
    assert described(registry.services) == (GREETER,)


def test_it_reads_the_facts_of_a_contract(registry: Registry) -> None:
    hop_pb2_grpc.add_HopServiceServicer_to_server(
        _any(hop_pb2_grpc.HopServiceServicer)(), _any(registry.registrar("lab"))
    )

    (endpoint,) = registry

    assert endpoint.method.package == "portico.lab.v1"
    assert endpoint.method.access is Access.SIGNED_IN
    assert endpoint.method.query
    assert endpoint.method.unary


def test_it_takes_handlers_that_no_descriptor_describes(registry: Registry) -> None:
    registry.registrar("raw").add_generic_rpc_handlers(
        (handlers("planted.A", "One", "Two"), handlers("planted.B", "One"))
    )

    assert sorted(registry.services) == ["planted.A", "planted.B"]
    found = registry.find("/planted.A/Two")
    assert found is not None
    assert found.method.request_class is None
    assert found.method.package == "planted"
    assert described(registry.services) == ()


def test_it_takes_registered_handlers_alone(registry: Registry) -> None:
    def echo(request: bytes, context: Any) -> bytes:
        return request

    registrar = registry.registrar("raw")
    registrar.add_registered_method_handlers(
        "planted.A", {"One": grpc.unary_unary_rpc_method_handler(echo)}
    )

    assert registry.find("/planted.A/One") is not None


@pytest.mark.parametrize("module", ["same", "other"])
def test_it_refuses_a_service_twice(registry: Registry, module: str) -> None:
    add = _any(stubs.add_GreeterServiceServicer_to_server)
    add(base(), registry.registrar("same"))

    with pytest.raises(ValueError, match=f"service {GREETER} is registered twice"):
        add(base(), registry.registrar(module))
    with pytest.raises(ValueError, match=f"service {GREETER} is registered twice"):
        registry.registrar(module).add_registered_method_handlers(GREETER, {})


def test_it_refuses_handlers_that_do_not_say_what_they_handle(registry: Registry) -> None:
    class Dynamic(grpc.GenericRpcHandler):
        def service(self, handler_call_details: Any) -> Any:
            return None

    with pytest.raises(TypeError, match="does not say which methods it handles"):
        registry.registrar("raw").add_generic_rpc_handlers((Dynamic(),))


def test_it_refuses_a_servicer_without_a_function(registry: Registry) -> None:
    empty: Any = grpc.unary_unary_rpc_method_handler(_any(None))

    with pytest.raises(TypeError, match=r"the servicer of /planted\.A/One has no function for it"):
        registry.add("planted.A", {"One": empty}, "raw")


def _any(thing: Any) -> Any:
    """Generated code is typed for grpcio's own server."""
    return thing
