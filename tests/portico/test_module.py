"""Manifests: what a module provides, and in which order modules start."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from examples.greeter.v1 import greeter_pb2_grpc as greeter
from hypothesis import given
from hypothesis import strategies as st
from portico.lab.v1 import hop_pb2_grpc as hop

from portico.module import Module, ModuleError, service_of, start_order

GREETER = "examples.greeter.v1.GreeterService"


def provider(service: str) -> Any:
    """A generated ``add_…_to_server`` for ``service``."""

    def add(servicer: Any, server: Any) -> None:
        handlers: dict[str, Any] = {"Do": grpc.unary_unary_rpc_method_handler(servicer.Do)}
        generic = grpc.method_handlers_generic_handler(service, handlers)
        server.add_generic_rpc_handlers((generic,))
        server.add_registered_method_handlers(service, handlers)

    return add


def stub(service: str) -> type:
    """A generated stub class for ``service``."""

    class Stub:
        def __init__(self, channel: grpc.Channel) -> None:
            self.Do: Any = channel.unary_unary(f"/{service}/Do")

    return Stub


def module(name: str, *needs: str) -> Module:
    return Module(
        name=name,
        provides={provider(f"{name}.v1.Service"): object},
        requires=tuple(stub(f"{each}.v1.Service") for each in needs),
    )


def names(modules: list[Module]) -> list[str]:
    return [each.name for each in modules]


def test_a_module_says_which_services_it_provides() -> None:
    both = Module(
        name="both",
        provides={
            greeter.add_GreeterServiceServicer_to_server: object,
            hop.add_HopServiceServicer_to_server: object,
        },
    )

    assert both.services() == (GREETER, "portico.lab.v1.HopService")
    assert Module(name="none").services() == ()


def test_a_stub_class_says_which_service_it_calls() -> None:
    assert service_of(greeter.GreeterServiceStub) == GREETER


def test_a_class_that_is_no_stub_is_told() -> None:
    class NoStub:
        def __init__(self, channel: grpc.Channel) -> None:
            pass

    with pytest.raises(ModuleError, match="NoStub is not a generated stub"):
        service_of(NoStub)


def test_modules_start_after_those_they_require() -> None:
    modules = [module("c", "a", "b"), module("b", "a"), module("d", "c"), module("a")]

    assert names(start_order(modules)) == ["a", "b", "c", "d"]


def test_modules_that_need_nothing_start_as_they_are_listed() -> None:
    modules = [module("z"), module("a"), module("m")]

    assert names(start_order(modules)) == ["z", "a", "m"]


def test_a_module_that_requires_itself_is_a_circle_too() -> None:
    with pytest.raises(ModuleError, match="a → a"):
        start_order([module("a", "a")])


def test_a_circle_is_told_by_its_names() -> None:
    modules = [module("free"), module("a", "b"), module("b", "c"), module("c", "a")]

    with pytest.raises(ModuleError, match="in a circle: a → b → c → a"):
        start_order(modules)


def test_a_circle_is_told_without_those_who_only_lead_to_it() -> None:
    modules = [module("leads", "a"), module("a", "b"), module("b", "a")]

    with pytest.raises(ModuleError, match="in a circle: a → b → a"):
        start_order(modules)


def test_a_requirement_that_nobody_provides_is_told() -> None:
    with pytest.raises(ModuleError, match=r"module a requires b\.v1\.Service, which no module"):
        start_order([module("a", "b")])


def test_two_modules_of_one_name_are_told() -> None:
    with pytest.raises(ModuleError, match="two modules are called a"):
        start_order([module("a"), Module(name="a")])


def test_a_service_of_two_modules_is_told() -> None:
    other = Module(name="other", provides={provider("a.v1.Service"): object})

    with pytest.raises(ModuleError, match=r"a\.v1\.Service is provided by both a and other"):
        start_order([module("a"), other])


@given(st.permutations(range(8)), st.data())
def test_any_tree_of_modules_has_an_order(listed: list[int], data: st.DataObject) -> None:
    needs = {
        number: data.draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        for number in range(8)
    }
    modules = [module(f"m{each}", *(f"m{need}" for need in needs[each])) for each in listed]

    order = names(start_order(modules))

    assert sorted(order) == [f"m{number}" for number in range(8)]
    for number, required in needs.items():
        assert all(order.index(f"m{need}") < order.index(f"m{number}") for need in required)
