from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from examples.greeter.v1 import greeter_pb2_grpc as greeter
from pydantic import BaseModel, ConfigDict

from emporium.app import application
from portico.module import Module
from portico.render.layout import Layout
from portico.topology import Topology

At = Callable[[str], Layout]


def callers(layout: Layout) -> dict[str, list[str]]:
    return {process.name: sorted(layout.callers(process)) for process in layout.processes}


def test_a_process_is_called_for_requirements_events_clients_and_the_keys_of_tokens(
    layout: At,
) -> None:
    found = callers(layout("apart"))

    assert found["catalog"] == ["edge", "orders"]
    assert found["users"] == ["auth", "edge"]
    assert "payments" in found["orders"], "orders reacts to what payments publishes"
    assert "orders" in found["inventory"]
    assert found["auth"] == ["catalog", "edge", "inventory", "orders", "payments", "users"]
    assert found["edge"] == []


def test_nobody_else_is_let_in(layout: At) -> None:
    found = callers(layout("apart"))

    assert "catalog" not in found["payments"]
    assert "payments" not in found["catalog"]


def test_callees_are_the_same_seen_from_the_other_side(layout: At) -> None:
    apart = layout("apart")
    for caller in apart.processes:
        for callee in apart.processes:
            assert (callee.name in apart.callees(caller)) == (caller.name in apart.callers(callee))


def test_a_process_does_not_call_itself_and_one_alone_calls_nobody(layout: At) -> None:
    assert callers(layout("monolith")) == {"app": []}
    assert callers(layout("core-and-edge")) == {"core": ["edge"], "edge": []}


def test_an_application_without_tokens_asks_nobody_for_keys(layout: At) -> None:
    apart = layout("apart")
    without = replace(apart, application=replace(application, authenticator=None))

    assert callers(without)["auth"] == ["edge", "users"], "for clients and an event"


def test_where_tokens_are_checked_is_anybodys_guess_while_a_setting_is_missing(layout: At) -> None:
    class Demanding(BaseModel):
        model_config = ConfigDict(frozen=True)
        must: str

    apart = layout("apart")
    demanding = Module(name="demanding", settings=Demanding)
    guessed = replace(
        apart,
        application=replace(application, modules=[*application.modules, demanding]),
        settings_class=replace(
            application, modules=[*application.modules, demanding]
        ).settings_class(),
        topology=replace(apart.topology, disabled=frozenset({"demanding"})),
    )

    assert "payments" in callers(guessed)["catalog"]


def test_a_module_that_is_off_is_asked_for_nothing(layout: At) -> None:
    found = layout('enabled_modules = ["users", "catalog"]\n[processes.one]\nmodules = ["*"]\n')

    assert found.services() == [
        "commerce.catalog.v1.CatalogService",
        "commerce.users.v1.UsersService",
    ]
    assert found.callers(found.processes[0]) == []


def test_services_without_rest_routes_are_left_out() -> None:
    plain = Module(name="plain", provides={greeter.add_GreeterServiceServicer_to_server: object})
    hello = replace(application, modules=[plain])

    assert Layout(Topology.monolith([plain]), hello, hello.settings_class()).services() == []


@pytest.mark.parametrize(
    ("name", "usable"), [("emporium", "emporium"), ("My Shop!", "my-shop"), ("--", "application")]
)
def test_the_name_is_one_that_dns_can_bear(layout: At, name: str, usable: str) -> None:
    assert replace(layout("monolith"), application=replace(application, name=name)).name == usable
