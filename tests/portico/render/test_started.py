"""What is rendered for a cluster runs: its settings, topology and certificates, here as two programs of one machine."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from emporium.app import application
from portico import Program
from portico.clock import SystemClock
from portico.security.authority import issue_all
from portico.topology import Topology
from tests.journeys.shopper import request, webhook

Objects = Callable[[str], list[Any]]

# What only the cluster can give: names of hosts, and addresses that are everybody's.
HERE = {
    "PORTICO_GRPC_HOST": "127.0.0.1",
    "PORTICO_GRPC_PORT": "0",
    "PORTICO_HTTP_HOST": "127.0.0.1",
    "PORTICO_HTTP_PORT": "0",
    "PORTICO_HOP_HOST": "127.0.0.1",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def mounted(volume: Any, secret: Mapping[str, Path], folder: Path) -> Path:
    """The Secret's keys as files, under the names that the volume gives them."""
    folder.mkdir()
    for item in volume["secret"]["items"]:
        (folder / item["path"]).write_bytes(secret[item["key"]].read_bytes())
    return folder


class Cluster:
    """Pods of the manifests, each as a program; ``database`` is where all their Secrets point."""

    def __init__(self, objects: list[Any], database: URL, folder: Path) -> None:
        self._database = database
        self._folder = folder
        self._objects = {(each["kind"], each["metadata"]["name"]): each for each in objects}
        data = self._objects["ConfigMap", "emporium-topology"]["data"]
        self._topology = folder / "topology.toml"
        self._topology.write_text(data["topology.toml"])
        self.topology = Topology.load(self._topology, application.modules)
        self._addresses = {name: f"127.0.0.1:{free_port()}" for name in self.topology.processes}
        issue_all(self.topology, folder / "issued", clock=SystemClock())

    def program(self, kind: str, name: str) -> Program:
        """The program in the pods of this object; not started."""
        pod = self._objects[kind, f"emporium-{name}"]["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        shared = self._objects["ConfigMap", "emporium-settings"]["data"]
        own = {each["name"]: each["value"] for each in container["env"] if "value" in each}
        (volume,) = [each for each in pod["volumes"] if each["name"] == "certificates"]
        process = own["PORTICO_PROCESS"]
        issued = self._folder / "issued"
        certificate = {
            "ca.crt": issued / "ca.pem",
            "tls.crt": issued / f"{process}.pem",
            "tls.key": issued / f"{process}.key",
        }
        secrets = {
            "PORTICO_DATABASE_URL": self._database.set(drivername="postgresql").render_as_string(
                hide_password=False
            ),
            "PORTICO_HOP_SECRET": "random, and the same for all",
        }
        wanted = {each["name"] for each in container["env"] if "valueFrom" in each}
        here = HERE | {
            "PORTICO_TOPOLOGY": str(self._topology),
            "PORTICO_CERTIFICATES": str(
                mounted(volume, certificate, self._folder / f"{kind}-{name}")
            ),
            "PORTICO_ADDRESSES": json.dumps(self._addresses),
        }
        given = {key: value for key, value in secrets.items() if key in wanted}
        settings = application.settings_class().load(
            environment=shared | own | given | here, folder=self._folder
        )
        return Program(application, settings, serve=container["args"] == ["serve"])


@pytest.fixture
def cluster(objects: Objects, database_url: URL, tmp_path: Path) -> Iterator[dict[str, Program]]:
    """Shop and payments after their migrations, started callee first."""
    cluster = Cluster(objects("payments-apart"), database_url, tmp_path)
    started = {}
    with ExitStack() as stack:
        for name in cluster.topology.processes:
            cluster.program("Job", f"{name}-migration").migrate()
        for name in cluster.topology.processes:
            started[name] = cluster.program("Deployment", name)
            started[name].start()
            stack.callback(started[name].stop)
        yield started


def test_every_pod_becomes_ready_and_the_front_hands_calls_on_under_mutual_tls(
    cluster: dict[str, Program],
) -> None:
    for program in cluster.values():
        assert request(program.http_address, "GET", "/readyz").status == 200
        assert request(program.http_address, "GET", "/healthz").status == 200
        assert request(program.http_address, "GET", "/metrics").status == 200

    refused = webhook(cluster["shop"].http_address, b"{}", None)

    assert (refused.status, refused.reason) == (401, "WEBHOOK_SIGNATURE_INVALID")
    assert webhook(cluster["payments"].http_address, b"{}", None).status == 404, "it is no front"
