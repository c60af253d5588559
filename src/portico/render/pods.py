"""What runs in a pod: one container, its settings and secrets, its probes, and what it may not do."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from portico.render.layout import HOP_PORT
from portico.render.secrets import secrets_of
from portico.render.yaml import Noted

if TYPE_CHECKING:
    from portico.render.layout import Layout
    from portico.topology import Process

FOLDER = "/etc/portico"
TOPOLOGY = f"{FOLDER}/topology.toml"
CERTIFICATES = f"{FOLDER}/certificates"

USER = 10001
"""The user of the image that the Dockerfile makes."""
_LEAVING_SECONDS = 5
_MARGIN_SECONDS = 10
_MEMORY_MIB = (256, 768)
_READABLE_BY_GROUP = 0o440

_LEAVING_NOTE = "Clients learn from DNS and the Service that this pod goes before it refuses them."
_GRACE_NOTE = "The pause before the end, PORTICO_DRAIN_SECONDS, and some more."
_RESOURCES_NOTE = (
    "To begin with: measure yours. No limit on the processor: it would only add latency."
)
_CHECKSUM = "topology-checksum"

Fields = dict[str, object]


class Pods:
    """The pods of an application; ``config`` is everything that its ConfigMaps hold."""

    def __init__(self, layout: Layout, config: str) -> None:
        self._layout = layout
        # A changed topology or setting is a changed pod, and so replaces the old ones.
        self._checksum = hashlib.sha256(config.encode()).hexdigest()[:16]

    def labels(self, component: str) -> Fields:
        """What a selector finds the pods of ``component`` by."""
        return {
            "app.kubernetes.io/name": self._layout.name,
            "app.kubernetes.io/component": component,
        }

    def serving(self, process: Process) -> Fields:
        """The pod of a process."""
        http = self._layout.default("http_port")
        ports = [{"name": "http", "containerPort": http}]
        if process.front:
            ports.insert(0, {"name": "grpc", "containerPort": self._layout.default("grpc_port")})
        if self._layout.is_called(process):
            ports.append({"name": "hop", "containerPort": HOP_PORT})
        return self._pod(
            process,
            process.name,
            "serve",
            container={
                "ports": ports,
                "startupProbe": _probe("/healthz", period_seconds=2, failures=60),
                "readinessProbe": _probe("/readyz", period_seconds=5, failures=2),
                "livenessProbe": _probe("/healthz", period_seconds=10, failures=3),
                "lifecycle": Noted(
                    _LEAVING_NOTE,
                    {"preStop": {"exec": {"command": ["sleep", str(_LEAVING_SECONDS)]}}},
                ),
            },
        )

    def delivering(self, process: Process) -> Fields:
        """The pod of a worker of ``process``, which serves nothing and so has no probes."""
        return self._pod(process, f"{process.name}-worker", "worker")

    def migrating(self, process: Process) -> Fields:
        """The pod that brings the schemas of ``process`` up to date."""
        component = f"{process.name}-migration"
        return self._pod(process, component, "migrate", pod={"restartPolicy": "OnFailure"})

    def _pod(
        self,
        process: Process,
        component: str,
        command: str,
        *,
        container: Fields | None = None,
        pod: Fields | None = None,
    ) -> Fields:
        grace_seconds = _LEAVING_SECONDS + self._layout.default("drain_seconds") + _MARGIN_SECONDS
        return {
            "metadata": {
                "labels": self.labels(component),
                "annotations": {_CHECKSUM: self._checksum},
            },
            "spec": {
                **(pod or {}),
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "terminationGracePeriodSeconds": Noted(_GRACE_NOTE, round(grace_seconds)),
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": USER,
                    "runAsGroup": USER,
                    "fsGroup": USER,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "topologySpreadConstraints": [
                    {
                        "maxSkew": 1,
                        "topologyKey": "kubernetes.io/hostname",
                        "whenUnsatisfiable": "ScheduleAnyway",
                        "labelSelector": {"matchLabels": self.labels(component)},
                    }
                ],
                "containers": [self._container(process, component, command, container or {})],
                "volumes": self._volumes(process),
            },
        }

    def _container(self, process: Process, name: str, command: str, own: Fields) -> Fields:
        mounts: list[Fields] = [
            {"name": "topology", "mountPath": TOPOLOGY, "subPath": "topology.toml"},
            {"name": "scratch", "mountPath": "/tmp"},  # noqa: S108  # in a container of its own
        ]
        if self._layout.topology.is_split:
            mounts.append({"name": "certificates", "mountPath": CERTIFICATES})
        return {
            "name": name,
            "image": self._layout.name,
            "args": [command],
            "envFrom": [{"configMapRef": {"name": f"{self._layout.name}-settings"}}],
            "env": self._environment(process),
            **own,
            "resources": Noted(_RESOURCES_NOTE, _resources(process.workers)),
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": mounts,
        }

    def _environment(self, process: Process) -> list[Fields]:
        name = self._layout.name
        found: list[Fields] = [{"name": "PORTICO_PROCESS", "value": process.name}]
        if self._layout.owns_data(process):
            found.append(_secret("PORTICO_DATABASE_URL", f"{name}-{process.name}-database", "url"))
        optional = not self._layout.topology.needs_redis
        found.append(_secret("PORTICO_REDIS_URL", f"{name}-redis", "url", optional=optional))
        if self._layout.topology.is_split:
            found.append(_secret("PORTICO_HOP_SECRET", f"{name}-hops", "secret"))
        return found + [
            _secret(each.variable, f"{name}-{module}", each.key, optional=not each.is_required)
            for module in process.modules
            for each in secrets_of(module, self._layout.settings_class)
        ]

    def _volumes(self, process: Process) -> list[Fields]:
        volumes: list[Fields] = [
            {"name": "topology", "configMap": {"name": f"{self._layout.name}-topology"}},
            {"name": "scratch", "emptyDir": {}},
        ]
        if self._layout.topology.is_split:
            volumes.append({"name": "certificates", "secret": self._certificate(process)})
        return volumes

    def _certificate(self, process: Process) -> Fields:
        """The Secret of a kind that cert-manager keeps, under the names that the program reads."""
        files = {
            "ca.crt": "ca.pem",
            "tls.crt": f"{process.name}.pem",
            "tls.key": f"{process.name}.key",
        }
        return {
            "secretName": f"{self._layout.name}-{process.name}-certificate",
            "defaultMode": Noted("0440 in octal.", _READABLE_BY_GROUP),
            "items": [{"key": key, "path": path} for key, path in files.items()],
        }


def _probe(path: str, *, period_seconds: int, failures: int) -> Fields:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period_seconds,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }


def _resources(workers: int) -> Fields:
    asked, most = (f"{mib * workers}Mi" for mib in _MEMORY_MIB)
    return {
        "requests": {"cpu": f"{500 * workers}m", "memory": asked},
        "limits": {"memory": most},
    }


def _secret(variable: str, secret: str, key: str, *, optional: bool = False) -> Fields:
    reference: Fields = {"name": secret, "key": key}
    if optional:
        reference["optional"] = True
    return {"name": variable, "valueFrom": {"secretKeyRef": reference}}
