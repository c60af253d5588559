"""What each process of a topology is started with."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from portico import Application, Settings
from portico.supervise.child import ChildSpec
from portico.supervise.plan import specs_of
from portico.supervise.ports import ReservedPort
from portico.supervise.premises import Premises
from portico.topology import Edge, Process, Topology

_SETTINGS = Settings(grpc_port=0, http_port=0)
_FRONT = Process(name="edge", front=True)
_CORE = Process(name="core", modules=("greeter",))


@pytest.fixture
def premises() -> Iterator[Premises]:
    with Premises(Application(name="hello", modules=[]), _SETTINGS) as premises:
        yield premises


def _topology(*processes: Process, **more: object) -> Topology:
    return Topology(name="t", processes={each.name: each for each in processes}, **more)  # type: ignore[arg-type]  # what a case adds


def _specs(premises: Premises, topology: Topology, generation: int = 0) -> dict[str, ChildSpec]:
    found = specs_of(
        topology,
        settings=_SETTINGS,
        premises=premises,
        command=["serve"],
        generation=generation,
    )
    return {spec.name: spec for spec in found}


def _told(spec: ChildSpec) -> Mapping[str, str]:
    assert spec.environment is not None
    return spec.environment


def _versions(premises: Premises, topology: Topology, generation: int = 0) -> dict[str, str]:
    return {name: spec.version for name, spec in _specs(premises, topology, generation).items()}


def test_one_process_alone_has_public_ports_and_nothing_for_hops(premises: Premises) -> None:
    alone = Process(name="app", modules=("greeter",), front=True)
    spec = _specs(premises, _topology(alone))["app"]
    assert spec.command == ("serve", "--process", "app")
    assert spec.ports == (int(_told(spec)["PORTICO_GRPC_PORT"]),)
    assert spec.descriptors == (int(_told(spec)["PORTICO_SUPERVISED__HTTP_SOCKET"]),)
    assert "PORTICO_HOP_PORT" not in _told(spec)
    assert "PORTICO_HOP_SECRET" not in _told(spec)


def test_processes_of_a_split_know_each_other_and_one_secret(premises: Premises) -> None:
    core, edge = (_specs(premises, _topology(_CORE, _FRONT))[name] for name in ("core", "edge"))
    addresses = json.loads(_told(edge)["PORTICO_ADDRESSES"])
    assert addresses == {"core": f"127.0.0.1:{_told(core)['PORTICO_HOP_PORT']}"}
    assert core.ports == (int(_told(core)["PORTICO_HOP_PORT"]),)
    assert "PORTICO_HOP_PORT" not in _told(edge)
    secrets = {_told(spec)["PORTICO_HOP_SECRET"] for spec in (core, edge)}
    assert len(secrets) == 1
    assert len(secrets.pop()) > 30


def test_workers_share_what_replicas_have_of_their_own(premises: Premises) -> None:
    many = Process(name="core", modules=("greeter",), workers=2, replicas=2)
    specs = _specs(premises, _topology(many, _FRONT))
    assert list(specs) == ["core", "core/2", "core/3", "core/4", "edge"]
    assert specs["core"].ports == specs["core/2"].ports
    assert specs["core/3"].ports == specs["core/4"].ports
    assert specs["core"].ports != specs["core/3"].ports
    addresses = json.loads(_told(specs["edge"])["PORTICO_ADDRESSES"])["core"].split(",")
    assert [int(each.rpartition(":")[2]) for each in addresses] == [
        *specs["core"].ports,
        *specs["core/3"].ports,
    ]
    assert len({spec.descriptors for name, spec in specs.items() if name != "edge"}) == 1


def test_an_address_on_this_machine_is_kept_and_another_one_replaced(premises: Premises) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    near = Process(name="near", modules=("a",), address=f"localhost:{port}")
    far = Process(name="far", modules=("b",), address="far.example:7001")
    specs = _specs(premises, _topology(near, far, _FRONT))
    assert _told(specs["near"])["PORTICO_HOP_PORT"] == str(port)
    assert _told(specs["far"])["PORTICO_HOP_PORT"] != "7001"


def test_what_has_not_changed_is_the_same_version(premises: Premises) -> None:
    topology = _topology(_CORE, _FRONT)
    assert _versions(premises, topology) == _versions(premises, topology)


@pytest.mark.parametrize(
    "other",
    [
        _topology(Process(name="core", modules=("greeter",), threads=3), _FRONT),
        _topology(_CORE, _FRONT, edges={("a", "b"): Edge(timeout_ms=5)}),
        _topology(_CORE, _FRONT, disabled=frozenset({"x"})),
        _topology(Process(name="core", modules=("greeter", "more")), _FRONT),
        _topology(_CORE, Process(name="third", modules=("more",)), _FRONT),
        _topology(_CORE, _FRONT, events="redis"),
    ],
)
def test_what_has_changed_is_another_version(other: Topology, premises: Premises) -> None:
    assert (
        _versions(premises, _topology(_CORE, _FRONT))["core"]
        != (_versions(premises, other)["core"])
    )


def test_a_setting_of_one_process_leaves_the_others_alone(premises: Premises) -> None:
    before = _versions(premises, _topology(_CORE, _FRONT))
    threads = Process(name="core", modules=("greeter",), threads=3)
    assert _versions(premises, _topology(threads, _FRONT))["edge"] == before["edge"]


def test_more_workers_do_not_replace_those_that_are_there(premises: Premises) -> None:
    before = _versions(premises, _topology(_CORE, _FRONT))
    more = Process(name="core", modules=("greeter",), workers=2)
    after = _versions(premises, _topology(more, _FRONT))
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"core/2"}


def test_a_name_that_goes_over_to_another_replica_is_another_version(premises: Premises) -> None:
    """Else, with fewer workers, the one that stays would be at the place of a replica that has one already."""
    many = Process(name="core", modules=("greeter",), replicas=2, workers=2)
    few = Process(name="core", modules=("greeter",), replicas=2)
    before, after = (_specs(premises, _topology(each, _FRONT)) for each in (many, few))

    assert before["core"].version == after["core"].version
    assert before["core/2"].ports != after["core/2"].ports
    assert before["core/2"].version != after["core/2"].version


def test_another_generation_replaces_everything(premises: Premises) -> None:
    first = _versions(premises, _topology(_CORE, _FRONT))
    second = _versions(premises, _topology(_CORE, _FRONT), generation=1)
    assert all(first[name] != second[name] for name in first)


def test_the_port_of_a_process_that_is_gone_is_given_up(premises: Premises) -> None:
    spec = _specs(premises, _topology(_CORE, _FRONT))["core"]
    with pytest.raises(OSError, match="in use"):
        ReservedPort(host="127.0.0.1", port=spec.ports[0], setting="this test")
    premises.keep([_FRONT])
    ReservedPort(host="127.0.0.1", port=spec.ports[0], setting="this test").close()


def test_the_folder_of_a_run_is_for_nobody_else_and_goes_with_it() -> None:
    with Premises(Application(name="hello", modules=[]), _SETTINGS) as premises:
        folder: Path = premises.metrics(_CORE)
        assert folder.is_dir()
        assert premises.folder.stat().st_mode & 0o077 == 0
    assert not premises.folder.exists() or not folder.exists()


def test_a_reserved_port_refuses_one_that_somebody_has() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="Address already in use; this test choose another"):
            ReservedPort(host="127.0.0.1", port=taken.getsockname()[1], setting="this test")
