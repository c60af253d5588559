"""Kubernetes manifests of a topology, for `kubectl apply` or as the base of a kustomization."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

from portico.render.layout import HOP_PORT
from portico.render.network import Network
from portico.render.pods import CERTIFICATES, TOPOLOGY, Fields, Pods
from portico.render.secrets import secrets_of
from portico.render.toml import topology_file
from portico.render.yaml import Noted, documents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.render.layout import Layout
    from portico.topology import Process

_BUSY_PERCENT = 70
_GROWTH = 2
_KEPT_SECONDS = 3600
_WIDTH = 116

_NOTE = """\
{application} as the topology {topology} has it. Rendered: change the topology and run `portico topology render` again.
Replace the image `{name}` by yours. What is expected to be there, none of it in this file:

{secrets}"""
_CERTIFICATE_NOTE = """\
The certificates are those that cert-manager keeps (tls.crt, tls.key, ca.crt), all of one authority, each for
server and client authentication, with these names; a renewed one is taken up without a restart:

{names}
"""
_JOB_NOTE = """\
Run it before the pods of a new version: they refuse to start on a database that is behind. A Job cannot be
changed; delete the old one, or let it go by itself after {hours} h."""
_REPLICAS_NOTE = "How many pods there are is the HorizontalPodAutoscaler's to say."
_MOST_NOTE = (
    "Before you raise it: this times the connections of a pod is what the database must bear."
)


def kubernetes(layout: Layout) -> str:
    """Every object, in the order in which it makes sense to apply them; no secret, only where it is expected."""
    return "\n".join([_note(layout), documents(list(_Objects(layout).all()))])


class _Objects:
    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._name = layout.name
        self._settings = _settings(layout)
        self._topology = topology_file(
            layout.topology,
            {
                process.name: f"{self._hops(process)}:{HOP_PORT}"
                for process in layout.processes
                if layout.is_called(process)
            },
        )
        self._pods = Pods(layout, self._topology + repr(self._settings))
        self._network = Network(layout, self._pods)

    def all(self) -> Iterator[object]:
        yield self._object("v1", "ConfigMap", "topology", data={"topology.toml": self._topology})
        yield self._object("v1", "ConfigMap", "settings", data=self._settings)
        for process in self._layout.processes:
            if self._layout.owns_data(process):
                yield Noted(_JOB_NOTE.format(hours=_KEPT_SECONDS // 3600), self._migration(process))
        for process in self._layout.processes:
            yield from self._process(process)
        if not self._layout.topology.is_split:
            yield self._worker(self._layout.processes[0])

    def _process(self, process: Process) -> Iterator[object]:
        yield self._deployment(process)
        if process.front:
            yield self._object("v1", "Service", process.name, spec=self._network.front(process))
        if self._layout.is_called(process):
            yield self._object(
                "v1", "Service", f"{process.name}-hops", spec=self._network.hops(process)
            )
        yield self._object(
            "policy/v1",
            "PodDisruptionBudget",
            process.name,
            spec={"maxUnavailable": 1, "selector": self._selector(process.name)},
        )
        yield self._object(
            "autoscaling/v2", "HorizontalPodAutoscaler", process.name, spec=self._scaling(process)
        )
        yield self._object(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            process.name,
            spec={"podSelector": self._selector(process.name), **self._network.policy(process)},
        )

    def _deployment(self, process: Process) -> Fields:
        return self._object(
            "apps/v1",
            "Deployment",
            process.name,
            spec={
                "strategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
                },
                "selector": Noted(_REPLICAS_NOTE, self._selector(process.name)),
                "template": self._pods.serving(process),
            },
        )

    def _worker(self, process: Process) -> Fields:
        name = f"{process.name}-worker"
        return self._object(
            "apps/v1",
            "Deployment",
            name,
            spec={
                "replicas": Noted(
                    f"Delivers events beside {process.name}, which delivers too: any number may,"
                    " each event is taken once.",
                    1,
                ),
                "selector": self._selector(name),
                "template": self._pods.delivering(process),
            },
        )

    def _migration(self, process: Process) -> Fields:
        return self._object(
            "batch/v1",
            "Job",
            f"{process.name}-migration",
            spec={
                "backoffLimit": 6,
                "ttlSecondsAfterFinished": _KEPT_SECONDS,
                "template": self._pods.migrating(process),
            },
        )

    def _scaling(self, process: Process) -> Fields:
        target = {"type": "Utilization", "averageUtilization": _BUSY_PERCENT}
        return {
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": f"{self._name}-{process.name}",
            },
            "minReplicas": process.replicas,
            "maxReplicas": Noted(_MOST_NOTE, process.replicas * _GROWTH),
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        }

    def _hops(self, process: Process) -> str:
        return f"{self._name}-{process.name}-hops"

    def _selector(self, component: str) -> Fields:
        return {"matchLabels": self._pods.labels(component)}

    def _object(self, version: str, kind: str, name: str, **body: object) -> Fields:
        metadata: Fields = {
            "name": f"{self._name}-{name}",
            "labels": {"app.kubernetes.io/name": self._name},
        }
        return {"apiVersion": version, "kind": kind, "metadata": metadata, **body}


def _settings(layout: Layout) -> Fields:
    everywhere = "0.0.0.0"  # noqa: S104  # in a container
    split = {"PORTICO_HOP_HOST": everywhere, "PORTICO_CERTIFICATES": CERTIFICATES}
    return {
        "PORTICO_PROFILE": "production",
        "PORTICO_TOPOLOGY": TOPOLOGY,
        "PORTICO_GRPC_HOST": everywhere,
        "PORTICO_HTTP_HOST": everywhere,
        **(split if layout.topology.is_split else {}),
        "PORTICO_LOG_FORMAT": "json",
    }


def _note(layout: Layout) -> str:
    text = _NOTE.format(
        application=layout.application.name,
        topology=layout.topology.name,
        name=layout.name,
        secrets="\n".join(f"  {line}" for line in _expected(layout)),
    )
    if layout.topology.is_split:
        names = "\n".join(_certified(layout))
        text += "\n\n" + _CERTIFICATE_NOTE.format(names=names)
    return "".join(f"# {line}".rstrip() + "\n" for line in text.splitlines())


def _expected(layout: Layout) -> Iterator[str]:
    """The Secrets, each with its keys."""
    name = layout.name
    for process in layout.processes:
        if layout.owns_data(process):
            yield f"Secret {name}-{process.name}-database: url, postgresql://user:password@host/database"
    missing = "" if layout.topology.needs_redis else "; may be missing"
    yield f"Secret {name}-redis: url, redis://host:6379/0{missing}"
    if layout.topology.is_split:
        yield f"Secret {name}-hops: secret, random, 16 characters at the least, the same for all"
    for process in layout.processes:
        for module in process.modules:
            found = secrets_of(module, layout.settings_class)
            if found:
                missing = "" if any(each.is_required for each in found) else "; may be missing"
                yield f"Secret {name}-{module}: {', '.join(each.key for each in found)}{missing}"
        if layout.topology.is_split:
            yield f"Secret {name}-{process.name}-certificate: tls.crt, tls.key, ca.crt"


def _certified(layout: Layout) -> Iterator[str]:
    for process in layout.processes:
        hosts = [process.name, *([f"{layout.name}-{process.name}-hops"] if process.modules else [])]
        uris = [f"process/{process.name}", *(f"module/{module}" for module in process.modules)]
        names = [f"DNS {host}" for host in hosts] + [f"URI portico://{uri}" for uri in uris]
        yield fill(
            f"{process.name}: {', '.join(names)}",
            width=_WIDTH,
            initial_indent="  ",
            subsequent_indent="    ",
            break_on_hyphens=False,
        )
