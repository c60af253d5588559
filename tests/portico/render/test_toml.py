from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from emporium.app import application
from portico.render.toml import topology_file
from portico.topology import Topology

Load = Callable[[str], Topology]


def again(text: str, folder: Path) -> Topology:
    path = folder / "written.toml"
    path.write_text(text)
    return Topology.load(path, application.modules)


@pytest.mark.parametrize("name", ["monolith", "payments-apart", "core-and-edge", "apart"])
def test_a_topology_is_read_as_it_was_written(topology: Load, name: str, tmp_path: Path) -> None:
    known = topology(name)

    assert again(topology_file(known, {}), tmp_path) == known


def test_everything_but_the_database_is_kept(topology: Load, tmp_path: Path) -> None:
    known = topology("""
name = "all-of-it"
events = "redis"
enabled_modules = {payments = false, orders = false}
[processes.front]
modules = ["*"]
front = true
workers = 4
replicas = 3
threads = 16
pool_size = 5
[processes.stock]
modules = ["inventory"]
database_url = "postgresql://stock:hidden@db/stock"
[edges."auth -> users"]
isolation = "share"
timeout_ms = 50
""")
    text = topology_file(known, {"front": "front.example:7", "stock": "stock.example:7"})

    assert "hidden" not in text
    expected = {
        name: replace(process, address=f"{name}.example:7", database_url=None)
        for name, process in known.processes.items()
    }
    assert again(text, tmp_path) == replace(known, processes=expected)


def test_a_single_process_that_is_no_front_stays_none(topology: Load, tmp_path: Path) -> None:
    known = topology('[processes.one]\nmodules = ["*"]\nfront = false\n')

    assert again(topology_file(replace(known, name="written"), {}), tmp_path).processes == (
        known.processes
    )
