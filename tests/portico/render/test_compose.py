"""The compose file in the root is what is rendered, follows the specification, and starts what it says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main
from ruamel.yaml import YAML

from emporium.app import application
from portico.cli import cli
from portico.render import RenderError
from portico.topology import Topology

ROOT = Path(__file__).parents[3]
Written = Callable[..., str]


@pytest.fixture
def shipped(written: Written) -> str:
    return written("monolith", "compose", split="payments-apart")


def services(text: str) -> Any:
    return YAML(typ="safe").load(text)["services"]


def of_our_image(text: str) -> dict[str, Any]:
    return {name: each for name, each in services(text).items() if each["image"] == "emporium"}


def validate(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = folder / "compose.yaml"
    path.write_text(text)
    check = Path(sys.executable).parent / "check-jsonschema"
    return subprocess.run(
        [check, "--builtin-schema", "vendor.compose-spec", path],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_file_in_the_root_is_the_rendered_monolith_with_a_profile_for_the_split(
    shipped: str,
) -> None:
    assert (ROOT / "compose.yaml").read_text() == shipped


def test_it_says_how_it_was_made(shipped: str) -> None:
    assert (
        "portico topology render monolith --format compose --profile split=payments-apart"
        in shipped
    )


def test_it_is_the_same_every_time(written: Written) -> None:
    assert written("apart", "compose") == written("apart", "compose")


@pytest.mark.parametrize("name", ["monolith", "payments-apart", "core-and-edge", "apart"])
def test_it_follows_the_compose_specification(written: Written, name: str, tmp_path: Path) -> None:
    done = validate(written(name, "compose"), tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "wrong", ["restarts: always", "command: {serve: true}", "depends_on: {a: {condition: soon}}"]
)
def test_a_planted_mistake_is_found(shipped: str, wrong: str, tmp_path: Path) -> None:
    assert validate(shipped, tmp_path).returncode == 0
    assert validate(shipped.replace("command: [serve]", wrong), tmp_path).returncode == 1


def test_app_and_worker_are_one_image_beside_postgres_and_redis(shipped: str) -> None:
    plain = {name: each for name, each in services(shipped).items() if "profiles" not in each}

    assert sorted(plain) == ["app", "postgres", "redis", "worker"]
    assert plain["app"]["image"] == plain["worker"]["image"] == "emporium"


def test_the_profile_is_the_split_with_a_database_of_its_own(shipped: str) -> None:
    split = {
        name: each for name, each in services(shipped).items() if each.get("profiles") == ["split"]
    }

    assert sorted(split) == ["payments", "shop", "split-postgres"]
    for name in ("payments", "shop"):
        assert "@split-postgres/" in split[name]["environment"]["PORTICO_DATABASE_URL"]


def test_whoever_waits_for_another_can_start(shipped: str) -> None:
    """Nobody waits for a service that is not there, or that belongs to a profile that may be off, or in a circle."""
    found = services(shipped)
    ready: list[str] = []
    while len(ready) < len(found):
        able = [
            name
            for name, each in found.items()
            if name not in ready and set(each.get("depends_on", {})) <= set(ready)
        ]
        assert able, f"none of {set(found) - set(ready)} can start"
        ready += able
    for each in found.values():
        for other in each.get("depends_on", {}):
            assert set(found[other].get("profiles", ())) <= set(each.get("profiles", ()))
            assert "healthcheck" in found[other]


def test_its_commands_exist(shipped: str) -> None:
    known = typer.main.get_group(cli).commands.keys()
    for service in of_our_image(shipped).values():
        assert set(service["command"]) <= known


def test_the_programs_can_read_what_they_are_told(shipped: str, tmp_path: Path) -> None:
    for name, service in of_our_image(shipped).items():
        settings = application.settings_class().load(
            environment=service["environment"], folder=tmp_path
        )
        (mounted,) = service["configs"]
        path = tmp_path / "topology.toml"
        path.write_text(YAML(typ="safe").load(shipped)["configs"][mounted["source"]]["content"])
        topology = Topology.load(path, application.modules)
        assert mounted["target"] == str(settings.topology)
        assert settings.process in topology.processes
        assert settings.postgres_url() is not None
        assert settings.redis_url is not None
        assert settings.demo, f"{name} would not know the payment methods of the demonstration"
        assert (settings.hop_secret is not None) == topology.is_split


def test_other_processes_are_called_by_the_name_of_their_service(shipped: str) -> None:
    assert 'address = "payments:50052"' in shipped
    assert services(shipped)["payments"]["environment"]["PORTICO_HOP_HOST"] == "0.0.0.0"  # noqa: S104  # in a container


def test_app_and_worker_differ_only_in_where_the_app_listens(shipped: str) -> None:
    app, worker = (services(shipped)[name]["environment"] for name in ("app", "worker"))
    listening = {"PORTICO_GRPC_HOST": "0.0.0.0", "PORTICO_HTTP_HOST": "0.0.0.0"}  # noqa: S104  # in a container
    assert app == worker | listening


def test_published_passwords_are_reachable_from_this_machine_only(shipped: str) -> None:
    found = services(shipped)
    published = [port for each in found.values() for port in each.get("ports", ())]

    assert [name for name, each in found.items() if "ports" in each] == ["app", "shop"]
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert len({port.rpartition(":")[0] for port in published}) == 4, "both may run at once"


def test_a_process_with_a_database_of_its_own_gets_one(written: Written) -> None:
    found = services(
        written(
            '[processes.shop]\nmodules = ["*"]\nfront = true\n'
            '[processes.payments]\nmodules = ["payments"]\ndatabase_url = "postgresql://h/d"\n',
            "compose",
        )
    )

    assert "@payments-postgres/" in found["payments"]["environment"]["PORTICO_DATABASE_URL"]
    assert {"postgres", "payments-postgres"} <= found.keys()
    assert "payments-postgres" in found["payments"]["depends_on"]


def test_a_process_without_modules_needs_no_database(written: Written) -> None:
    edge = services(written("core-and-edge", "compose"))["edge"]

    assert "PORTICO_DATABASE_URL" not in edge["environment"]
    assert sorted(edge["depends_on"]) == ["core", "redis"]


def test_two_processes_of_one_name_are_refused(written: Written) -> None:
    with pytest.raises(RenderError, match="two topologies have a process app"):
        written("monolith", "compose", again="monolith")


@pytest.mark.parametrize("format", ["kubernetes", "envoy"])
def test_other_formats_have_no_profiles(written: Written, format: str) -> None:
    with pytest.raises(RenderError, match=f"{format} has no profiles"):
        written("monolith", format, split="payments-apart")


def test_an_unknown_format_is_refused(written: Written) -> None:
    with pytest.raises(RenderError, match="no format helm; there are compose, kubernetes, envoy"):
        written("monolith", "helm")
