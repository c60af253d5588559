"""A topology as the file that it could have been read from, with the addresses of a cluster."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from portico.topology import Process, Topology


def topology_file(topology: Topology, addresses: Mapping[str, str]) -> str:
    """``topology`` as TOML; ``addresses`` says where each process is called by the others.

    Databases are left out: their addresses may hold passwords, and come with the settings.
    """
    parts = [
        _lines(name=topology.name, events=topology.events if topology.events != "rpc" else None),
        _disabled(topology),
        *(_process(each, addresses.get(each.name, "")) for each in topology.processes.values()),
        *_edges(topology),
    ]
    return "\n".join(filter(None, parts))


def _disabled(topology: Topology) -> str:
    off = "".join(f"{name} = false\n" for name in sorted(topology.disabled))
    return f"[enabled_modules]\n{off}" if off else ""


def _process(process: Process, address: str) -> str:
    return f"[processes.{process.name}]\n" + _lines(
        modules=list(process.modules) or None,
        front=process.front,
        address=address or None,
        workers=process.workers if process.workers != 1 else None,
        replicas=process.replicas if process.replicas != 1 else None,
        threads=process.threads,
        pool_size=process.pool_size,
    )


def _edges(topology: Topology) -> Iterator[str]:
    for (caller, callee), edge in topology.edges.items():
        isolation = edge.isolation if edge.isolation != "copy" else None
        terms = _lines(timeout_ms=edge.timeout_ms, isolation=isolation)
        yield f'[edges."{caller} -> {callee}"]\n{terms}'


def _lines(**entries: object) -> str:
    """Entries as TOML; what is None is left out. JSON's texts, numbers, lists and truth are TOML's."""
    return "".join(
        f"{key} = {json.dumps(value)}\n" for key, value in entries.items() if value is not None
    )
