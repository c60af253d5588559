"""A compose file: the demonstration on one machine, as it would run on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.render.layout import HOP_PORT
from portico.render.toml import topology_file
from portico.render.yaml import Noted, document

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from portico.render.layout import Layout
    from portico.topology import Process

_TOPOLOGY = "/etc/portico/topology.toml"
_MARGIN_SECONDS = 10
# No secret: everything here can be reached from this machine only, and the demonstration's passwords are published.
_PUBLISHED_SECRET = "demonstration-only"  # noqa: S105

_NOTE = """\
The demonstration on one machine: `docker compose up --build`. {ports}.
One image is every process. Written by:

  portico topology render {arguments}"""
_PROFILE_NOTE = """\
With `--profile {profile}` the topology {topology} runs beside it, with a database of its own; clients find it at
gRPC {grpc} and REST {http}. `docker compose up --build {front}` starts it alone."""
_DEMO_NOTE = """\
The demonstration, for every process alike: one without it does not know the simulated payment methods.
It also brings the database up to date at start; without it, run `docker compose run --rm {process} migrate` first."""
_LOCAL_NOTE = "The demonstration's passwords are published: this machine only."
_WORKER_NOTE = "Delivers events beside {process}, which delivers too: any number may, each event is taken once."
_REDIS_NOTE = """\
For what several processes share. Nothing is kept here that cannot be made again: it may be emptied at any time."""

Services = dict[str, object]


def compose(layout: Layout, *, profiles: Mapping[str, Layout]) -> str:
    """The application as ``layout`` has it and, under each name of ``profiles``, once more as that one has it."""
    stages = [
        _Stage(layout, "", 0),
        *(_Stage(each, profile, n) for n, (profile, each) in enumerate(profiles.items(), 1)),
    ]
    services: Services = {}
    for stage in stages:
        services |= stage.services()
    services["redis"] = Noted(_REDIS_NOTE, _redis())
    content = {
        "name": layout.name,
        "services": services,
        "configs": {name: held for stage in stages for name, held in stage.configs().items()},
        "volumes": {name: {} for stage in stages for name in stage.databases()},
    }
    others = (f" --profile {name}={each.topology.name}" for name, each in profiles.items())
    arguments = f"{layout.topology.name} --format compose{''.join(others)}"
    note = "\n\n".join(stage.note(arguments) for stage in stages)
    return document(content, note=note, spaced=2)


class _Stage:
    """One topology in the file: its processes and their databases; ``number`` keeps its ports apart."""

    def __init__(self, layout: Layout, profile: str, number: int) -> None:
        self._layout = layout
        self._profile = profile
        self._number = number
        self._prefix = f"{profile}-" if profile else ""

    def services(self) -> Services:
        """The processes, callers first as a reader wants them; then the worker and the databases."""
        found: Services = {
            process.name: self._process(process) for process in reversed(self._layout.processes)
        }
        if not self._layout.topology.is_split:
            process = self._layout.processes[0]
            found[f"{self._prefix}worker"] = Noted(
                _WORKER_NOTE.format(process=process.name), self._worker(process)
            )
        return found | {name: self._postgres(name) for name in self.databases()}

    def configs(self) -> Services:
        """The topology as a file."""
        topology = self._layout.topology
        called = filter(self._layout.is_called, self._layout.processes)
        addresses = {process.name: f"{process.name}:{HOP_PORT}" for process in called}
        return {f"{self._prefix}topology": {"content": topology_file(topology, addresses)}}

    def databases(self) -> list[str]:
        """A Postgres for all processes, and one more for each that the topology gives a database of its own."""
        owners = filter(self._layout.owns_data, self._layout.processes)
        return list(dict.fromkeys(map(self._database, owners)))

    def note(self, arguments: str) -> str:
        """What a reader of the file is told about it; ``arguments`` of the command line made the file."""
        grpc, http = (f"127.0.0.1:{port + self._number}" for port in self._ports)
        if not self._profile:
            return _NOTE.format(ports=f"gRPC on {grpc} and REST on {http}", arguments=arguments)
        front = next(process for process in self._layout.processes if process.front)
        return _PROFILE_NOTE.format(
            profile=self._profile,
            topology=self._layout.topology.name,
            grpc=grpc,
            http=http,
            front=front.name,
        )

    @property
    def _ports(self) -> Sequence[int]:
        return [self._layout.default("grpc_port"), self._layout.default("http_port")]

    def _process(self, process: Process) -> Services:
        http = self._layout.default("http_port")
        url = f"http://127.0.0.1:{http}/readyz"
        environment = self._environment(process) | self._listening(process)
        return self._container(process, ["serve"], environment) | {
            **({"ports": Noted(_LOCAL_NOTE, self._published())} if process.front else {}),
            "depends_on": self._healthy(process, [*self._started_before(process), "redis"]),
            "healthcheck": _check(
                "python", "-c", f"from urllib.request import urlopen; urlopen('{url}')", every=2
            ),
        }

    def _worker(self, process: Process) -> Services:
        return self._container(process, ["worker"], self._environment(process)) | {
            "depends_on": self._healthy(None, [process.name])
        }

    def _container(self, process: Process, command: list[str], environment: Services) -> Services:
        grace_seconds = self._layout.default("drain_seconds") + _MARGIN_SECONDS
        return {
            **({"profiles": [self._profile]} if self._profile else {}),
            "image": self._layout.name,
            "build": ".",
            "restart": "unless-stopped",
            "stop_grace_period": Noted("longer than PORTICO_DRAIN_SECONDS", f"{grace_seconds:g}s"),
            "command": command,
            "configs": [{"source": f"{self._prefix}topology", "target": _TOPOLOGY}],
            "environment": environment,
        }

    def _environment(self, process: Process) -> Services:
        """What every program on this process's part is told."""
        address = f"postgresql://portico:${{POSTGRES_PASSWORD:-portico}}@{self._database(process)}/portico"
        split = self._layout.topology.is_split
        return {
            "PORTICO_TOPOLOGY": _TOPOLOGY,
            "PORTICO_PROCESS": process.name,
            **({"PORTICO_DATABASE_URL": address} if self._layout.owns_data(process) else {}),
            "PORTICO_REDIS_URL": f"redis://redis:6379/{self._number}",
            **({"PORTICO_HOP_SECRET": f"${{HOP_SECRET:-{_PUBLISHED_SECRET}}}"} if split else {}),
            "PORTICO_LOG_FORMAT": "json",
            "PORTICO_DEMO": Noted(_DEMO_NOTE.format(process=process.name), "true"),
        }

    def _listening(self, process: Process) -> Services:
        everywhere = "0.0.0.0"  # noqa: S104  # in a container
        return {
            "PORTICO_HTTP_HOST": everywhere,
            **({"PORTICO_GRPC_HOST": everywhere} if process.front else {}),
            **({"PORTICO_HOP_HOST": everywhere} if self._layout.is_called(process) else {}),
        }

    def _published(self) -> list[str]:
        prefix = self._profile.replace("-", "_").upper() or "PORTICO"
        return [
            f"127.0.0.1:${{{prefix}_{kind}_PORT:-{port + self._number}}}:{port}"
            for kind, port in zip(("GRPC", "HTTP"), self._ports, strict=True)
        ]

    def _started_before(self, process: Process) -> Iterable[str]:
        """What it calls and what does not wait for it in turn."""
        before = [each.name for each in self._layout.processes]
        callees = self._layout.callees(process)
        return [name for name in callees if before.index(name) < before.index(process.name)]

    def _healthy(self, process: Process | None, others: Iterable[str]) -> Services:
        database = [self._database(process)] if process and self._layout.owns_data(process) else []
        return {name: {"condition": "service_healthy"} for name in (*database, *others)}

    def _database(self, process: Process) -> str:
        own = f"{process.name}-" if process.database_url else ""
        return f"{self._prefix}{own}postgres"

    def _postgres(self, name: str) -> Services:
        return {
            **({"profiles": [self._profile]} if self._profile else {}),
            "image": "postgres:18",
            "restart": "unless-stopped",
            "environment": {
                "POSTGRES_USER": "portico",
                "POSTGRES_PASSWORD": "${POSTGRES_PASSWORD:-portico}",
                "POSTGRES_DB": "portico",
            },
            "volumes": [f"{name}:/var/lib/postgresql"],
            "healthcheck": _check("pg_isready", "--username", "portico", every=1),
        }


def _redis() -> Services:
    return {
        "image": "redis:8",
        "restart": "unless-stopped",
        "command": ["redis-server", "--save", "", "--appendonly", "no"],
        "healthcheck": _check("redis-cli", "ping", every=1),
    }


def _check(*command: str, every: int) -> Services:
    return {
        "test": ["CMD", *command],
        "interval": f"{every}s",
        "timeout": "5s",
        "retries": 30,
    }
