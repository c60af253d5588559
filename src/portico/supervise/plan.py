"""A topology as children: what each of its processes is started with on this machine."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
from typing import TYPE_CHECKING

from portico._sources import PREFIX
from portico.settings import inherited_environment
from portico.supervise.child import ChildSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from portico.settings import Settings
    from portico.supervise.premises import Premises
    from portico.topology import Process, Topology

_LINGER_SECONDS = 10.0
_READY_SECONDS = 120.0


def specs_of(
    topology: Topology,
    *,
    settings: Settings,
    premises: Premises,
    command: Sequence[str],
    generation: int = 0,
    certificates: Path | None = None,
) -> list[ChildSpec]:
    """A spec for each worker of each replica of each process, callees before callers.

    ``command`` runs one of them when ``--process NAME`` is added. Of two topologies a process is
    another one when its own entry, the place of any module or its address, the edges, or what takes
    events from process to process differ; or with another ``generation``.
    """
    addresses = addresses_of(topology, premises)
    version = {
        "generation": generation,
        "disabled": sorted(topology.disabled),
        "edges": sorted(
            (*ends, edge.timeout_ms, edge.isolation) for ends, edge in topology.edges.items()
        ),
        "homes": {process.name: process.modules for process in topology.processes.values()},
        "addresses": addresses,
        "events": topology.events,
    }
    shared = environment_of(settings, premises)
    if certificates is not None:
        shared |= _variables(certificates=certificates)
    if topology.is_split:
        shared |= _variables(hop_secret=premises.secret, addresses=json.dumps(addresses))
    return [
        spec
        for process in topology.processes.values()
        for spec in workers_of(
            process,
            premises=premises,
            command=(*command, "--process", process.name),
            environment=shared,
            version=_digest({**version, "process": _alone(process)}),
            is_called=topology.is_split and bool(process.modules),
        )
    ]


def workers_of(
    process: Process,
    *,
    premises: Premises,
    command: Sequence[str],
    environment: Mapping[str, str],
    version: str,
    is_called: bool,
) -> Iterator[ChildSpec]:
    """A spec for each worker of each replica. All share the public ports, those of one replica its own."""
    own = {**environment, **_variables(supervised__metrics_folder=premises.metrics(process))}
    grpc, http = premises.grpc(process), premises.http(process)
    own |= _variables(supervised__http_socket=http.descriptor, supervised__workers=process.workers)
    if grpc is not None:
        own |= _variables(grpc_port=grpc.port)
    if process.database_url is None and premises.database_url is not None:
        own |= _variables(database_url=premises.database_url)
    for replica in range(1, process.replicas + 1):
        hop = premises.hop(process, replica) if is_called else None
        at = {} if hop is None else _variables(hop_port=hop.port)
        its_version = version if hop is None else _digest({"version": version, "port": hop.port})
        for worker in range(1, process.workers + 1):
            number = (replica - 1) * process.workers + worker
            yield ChildSpec(
                name=process.name if number == 1 else f"{process.name}/{number}",
                command=tuple(command),
                version=its_version,
                environment={**own, **at},
                descriptors=(http.descriptor,),
                ports=tuple(held.port for held in (grpc, hop) if held is not None),
                patience_seconds=_READY_SECONDS,
            )


def addresses_of(topology: Topology, premises: Premises) -> dict[str, str]:
    """Where each process is called, by name: the addresses of its replicas, with commas between."""
    if not topology.is_split:
        return {}
    return {
        process.name: ",".join(
            premises.hop(process, replica).address for replica in range(1, process.replicas + 1)
        )
        for process in topology.processes.values()
        if process.modules
    }


def environment_of(settings: Settings, premises: Premises) -> dict[str, str]:
    """What every child of a supervisor is told, over what this process was told itself."""
    text = settings.log_format == "text" or (
        settings.log_format == "auto" and os.isatty(sys.stderr.fileno())
    )
    return inherited_environment() | _variables(
        log_format="text" if text else "json",
        supervised__shared_ports="true",
        supervised__linger_seconds=settings.supervised.linger_seconds or _LINGER_SECONDS,
    )


def stop_seconds(settings: Settings) -> float:
    """How long a child may take to leave: it lingers, and drains its servers and then its relay."""
    linger = settings.supervised.linger_seconds or _LINGER_SECONDS
    return linger + 3 * settings.drain_seconds + 10


def _variables(**values: object) -> dict[str, str]:
    return {f"{PREFIX}{name.upper()}": str(value) for name, value in values.items()}


def _alone(process: Process) -> dict[str, object]:
    """The entry without what only says how many of it there are."""
    return dataclasses.asdict(dataclasses.replace(process, workers=1, replicas=1))


def _digest(facts: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
