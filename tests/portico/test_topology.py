"""Topologies: what a file says, what is wrong with it, and what changes from one to the next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest

from emporium.app import application as emporium
from portico.check.placement import differences, shown
from portico.demand import Demand, TooManyConnectionsError, refuse_excess
from portico.module import Module, ModuleError
from portico.placement import Placement
from portico.settings import Settings, SettingsError
from portico.supervise.settings import SupervisedSettings
from portico.topology import Topology, TopologyError

SPLIT = """
name = "split"
[processes.shop]
modules = ["*"]
front = true
[processes.payments]
modules = ["payments"]
replicas = 3
[edges."orders -> payments"]
timeout_ms = 2000
"""


def provider(service: str) -> Any:
    def add(servicer: Any, server: Any) -> None:
        handlers: dict[str, Any] = {"Do": grpc.unary_unary_rpc_method_handler(servicer.Do)}
        server.add_registered_method_handlers(service, handlers)

    return add


def stub(service: str) -> type:
    class Stub:
        def __init__(self, channel: grpc.Channel) -> None:
            self.Do: Any = channel.unary_unary(f"/{service}/Do")

    return Stub


def module(name: str, *needs: str, optional: tuple[str, ...] = ()) -> Module:
    return Module(
        name=name,
        provides={provider(f"{name}.v1.Service"): object},
        requires=tuple(stub(f"{each}.v1.Service") for each in needs),
        optional=tuple(stub(f"{each}.v1.Service") for each in optional),
    )


MODULES = [
    module("orders", "catalog", "payments", optional=("rewards",)),
    module("catalog"),
    module("payments"),
    module("rewards"),
]


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def read(text: str, modules: list[Module] = MODULES) -> Topology:
        path = tmp_path / "topology.toml"
        path.write_text(text)
        return Topology.load(path, modules)

    return read


def test_without_a_file_one_process_runs_every_module() -> None:
    topology = Topology.monolith(MODULES)

    (process,) = topology.processes.values()
    assert process.front
    assert set(process.modules) == {"orders", "catalog", "payments", "rewards"}
    assert not topology.is_split


def test_a_star_stands_for_the_modules_that_no_other_process_names(load: Any) -> None:
    topology = load(SPLIT)

    assert topology.processes["payments"].modules == ("payments",)
    assert set(topology.processes["shop"].modules) == {"catalog", "orders", "rewards"}
    assert topology.process_of("payments").replicas == 3
    assert topology.is_split


def test_processes_start_after_those_they_call(load: Any) -> None:
    assert list(load(SPLIT).processes) == ["payments", "shop"]


def test_processes_that_call_each_other_have_an_order_too(load: Any) -> None:
    topology = load(
        """
        [processes.a]
        modules = ["orders"]
        front = true
        [processes.b]
        modules = ["catalog", "payments", "top"]
        [processes.c]
        modules = ["rewards"]
        """,
        [*MODULES, module("top", "orders")],
    )

    assert list(topology.processes) == ["c", "a", "b"]


def test_an_edge_has_terms_and_others_the_defaults(load: Any) -> None:
    topology = load(SPLIT)

    assert topology.edge("orders", "payments").timeout_ms == 2000
    assert topology.edge("orders", "catalog").timeout_ms is None
    assert topology.edge("orders", "catalog").isolation == "copy"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[processes", "is not TOML"),
        ("", "processes: Field required"),
        ('[processes.a]\nmodules = ["*"]\nmodulse = 1', "processes.a.modulse"),
        ('[processes.a]\nmodules = ["nobody"]', "there is no module nobody"),
        ('[processes.a]\nmodules = ["orders"]', "module catalog runs nowhere"),
        (
            '[processes.a]\nmodules = ["*"]\n[processes.b]\nmodules = ["*"]\n',
            "modules * is given to 2",
        ),
        (
            '[processes.a]\nmodules = ["*", "orders"]\n[processes.b]\nmodules = ["orders"]\n',
            "module orders is given to 2 processes: a, b",
        ),
        ('[processes.a]\nmodules = ["*"]\n[processes.b]\n', "b: has no modules and is no front"),
        (
            '[processes.a]\nmodules = ["*"]\n[processes.b]\nmodules = ["orders"]\n',
            "no process is a front",
        ),
        ('[processes.a]\nmodules = ["*"]\n[edges."orders"]\ntimeout_ms = 1\n', "caller -> callee"),
        ('[processes.a]\nmodules = ["*"]\n[edges."orders -> x"]\ntimeout_ms = 1\n', "no module x"),
        ('[processes.a]\nmodules = ["*"]\nworkers = 0', "processes.a.workers"),
        ('[processes.a]\nmodules = ["*"]\naddress = "no port"', "processes.a.address"),
        ('[processes."A b"]\nmodules = ["*"]', "processes.A b"),
        ('enabled_modules = ["nobody"]\n[processes.a]\nmodules = ["*"]', "no module nobody"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(load: Any, text: str, complaint: str) -> None:
    with pytest.raises(TopologyError) as refused:
        load(text)

    assert complaint in str(refused.value)
    assert "topology.toml" in str(refused.value)


def test_a_file_that_is_not_there_is_told() -> None:
    with pytest.raises(TopologyError, match="No such file"):
        Topology.load(Path("nowhere.toml"), MODULES)


@pytest.mark.parametrize(
    "enabled",
    [
        'enabled_modules = ["orders", "catalog", "payments"]',
        "enabled_modules = { rewards = false }",
        "enabled_modules = { rewards = false, orders = true }",
    ],
)
def test_a_module_is_turned_off_by_a_list_or_a_table(load: Any, enabled: str) -> None:
    topology = load(f'{enabled}\n[processes.a]\nmodules = ["*"]')

    assert topology.disabled == {"rewards"}
    assert set(topology.processes["a"].modules) == {"orders", "catalog", "payments"}


def test_a_module_that_requires_one_turned_off_stops_the_start(load: Any) -> None:
    with pytest.raises(
        ModuleError, match=r"orders requires payments\.v1\.Service of module payments"
    ):
        load('enabled_modules = { payments = false }\n[processes.a]\nmodules = ["*"]')


def test_a_module_that_is_off_needs_no_place(load: Any) -> None:
    topology = load(
        """
        enabled_modules = { orders = false, rewards = false }
        [processes.a]
        modules = ["catalog", "orders", "payments"]
        """
    )

    assert topology.processes["a"].modules == ("catalog", "payments")


def test_a_placement_knows_what_is_here_and_where_the_rest_is(load: Any) -> None:
    topology = load(SPLIT)
    placement = Placement(topology, topology.processes["shop"], MODULES)

    assert placement.home("payments.v1.Service") == "payments"
    assert placement.home("catalog.v1.Service") is None
    assert not placement.is_here(stub("payments.v1.Service"))
    assert placement.is_here(stub("catalog.v1.Service"))
    assert [process.name for process in placement.elsewhere()] == ["payments"]


def test_those_may_call_a_service_that_say_so_in_their_manifest(load: Any) -> None:
    topology = load(SPLIT)
    callers = Placement(topology, topology.processes["payments"], MODULES).callers()

    everybody = frozenset({"orders", "catalog", "payments", "rewards"})
    assert callers == {
        "payments.v1.Service": frozenset({"orders"}),
        "portico.v1.EventsService": everybody,
    }


def test_a_process_of_a_split_must_be_chosen(tmp_path: Path) -> None:
    split = Settings(topology=Path("payments-apart"))
    with pytest.raises(TopologyError, match="choose one with --process"):
        Placement.chosen(emporium, split)
    with pytest.raises(SettingsError, match="has no process nobody; it has payments, shop"):
        Placement.chosen(emporium, split.model_copy(update={"process": "nobody"}))
    with pytest.raises(TopologyError, match="comes with apart, core-and-edge, monolith"):
        Placement.chosen(emporium, Settings(topology=tmp_path / "nowhere"))


@pytest.mark.parametrize("name", ["monolith", "apart", "payments-apart", "core-and-edge"])
def test_the_shipped_topologies_fit_the_application(name: str) -> None:
    topology = emporium.topology(Path(name))

    assert topology.name == name
    placed = [each for process in topology.processes.values() for each in process.modules]
    assert sorted(placed) == sorted(each.name for each in emporium.modules)
    assert any("orders -> payments" in line for line in shown(topology, emporium.modules))


def test_a_difference_names_what_moves_and_which_calls_become_remote() -> None:
    monolith = emporium.topology(Path("monolith"))
    apart = emporium.topology(Path("payments-apart"))

    told = differences(monolith, apart, emporium.modules)

    assert "module payments: app -> payments" in told
    assert "process payments: added" in told
    assert "calls orders -> payments: over the network now" in told
    assert not [line for line in told if line.startswith("calls orders -> catalog")]
    assert differences(apart, apart, emporium.modules) == []


def test_pools_that_a_database_cannot_hold_are_refused_with_the_arithmetic() -> None:
    demands = [Demand("shop", 2, 3, 20), Demand("payments", 1, 1, 20)]

    refuse_excess(demands, 147, database="postgresql://there")
    with pytest.raises(TooManyConnectionsError) as refused:
        refuse_excess(demands, 146, database="postgresql://there")

    told = str(refused.value)
    assert "want 147 connections" in told
    assert "allows 146" in told
    assert "shop: 2 workers x 3 replicas x (20 + 1) connections = 126" in told


def test_processes_with_a_database_of_their_own_are_counted_apart(load: Any) -> None:
    owners = [
        Module(name=each.name, provides=each.provides, requires=each.requires, owns_data=True)
        for each in MODULES
    ]
    topology = load(SPLIT + '\n[processes.more]\nmodules = ["rewards"]\ndatabase_url = "x"', owners)
    settings = Settings(database_pool_size=7)

    shop = Placement(topology, topology.processes["shop"], owners).demands(settings)
    more = Placement(topology, topology.processes["more"], owners).demands(settings)

    assert shop == [Demand("payments", 1, 3, 7), Demand("shop", 1, 1, 7)]
    assert more == [Demand("more", 1, 1, 7)]


def test_workers_that_the_command_line_asks_for_are_counted(load: Any) -> None:
    owners = [
        Module(name=each.name, provides=each.provides, requires=each.requires, owns_data=True)
        for each in MODULES
    ]
    topology = load(SPLIT, owners)
    settings = Settings(database_pool_size=7, supervised=SupervisedSettings(workers=4))

    demands = Placement(topology, topology.processes["shop"], owners).demands(settings)

    assert demands == [Demand("payments", 1, 3, 7), Demand("shop", 4, 1, 7)]
