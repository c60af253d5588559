"""Who may talk to whom in a cluster, and by which name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.render.layout import HOP_PORT
from portico.render.yaml import Noted

if TYPE_CHECKING:
    from portico.render.layout import Layout
    from portico.render.pods import Fields, Pods
    from portico.topology import Process

_DNS, _POSTGRES, _REDIS, _HTTPS, _TRACES = 53, 5432, 6379, 443, 4317

_FRONT_NOTE = "Clients come from anywhere."
_PROBES_NOTE = "Probes and metrics, for anything in the cluster."
_CALLERS_NOTE = "Only the processes whose modules, events or clients need this one."
_HEADLESS_NOTE = "Headless: DNS answers with every pod, and callers spread their calls over them."
_OUTSIDE_NOTE = "What stands outside: adapt the ports to yours, and name the addresses if you can."


class Network:
    """Services and network policies of the processes."""

    def __init__(self, layout: Layout, pods: Pods) -> None:
        self._layout = layout
        self._pods = pods
        self._grpc, self._http = layout.default("grpc_port"), layout.default("http_port")

    def front(self, process: Process) -> Fields:
        """The Service by which clients find a front."""
        return {
            "selector": self._pods.labels(process.name),
            "ports": [
                {
                    "name": "grpc",
                    "port": self._grpc,
                    "targetPort": "grpc",
                    "appProtocol": "kubernetes.io/h2c",
                },
                {"name": "http", "port": self._http, "targetPort": "http"},
            ],
        }

    def hops(self, process: Process) -> Fields:
        """The Service by which other processes find this one."""
        return {
            "clusterIP": Noted(_HEADLESS_NOTE, "None"),
            "selector": self._pods.labels(process.name),
            "ports": [{"name": "hop", "port": HOP_PORT, "targetPort": "hop"}],
        }

    def policy(self, process: Process) -> Fields:
        """What may reach the pods of ``process``, and what they may reach."""
        ingress: list[object] = [
            Noted(_FRONT_NOTE, {"ports": [_tcp(self._grpc), _tcp(self._http)]})
            if process.front
            else Noted(
                _PROBES_NOTE, {"from": [{"namespaceSelector": {}}], "ports": [_tcp(self._http)]}
            )
        ]
        if callers := self._layout.callers(process):
            rule = {"from": [self._of(callers)], "ports": [_tcp(HOP_PORT)]}
            ingress.append(Noted(_CALLERS_NOTE, rule))
        egress: list[object] = [{"ports": [{"protocol": "UDP", "port": _DNS}, _tcp(_DNS)]}]
        if callees := self._layout.callees(process):
            egress.append({"to": [self._of(callees)], "ports": [_tcp(HOP_PORT)]})
        database = [_POSTGRES] if self._layout.owns_data(process) else []
        outside = [_tcp(port) for port in (*database, _REDIS, _HTTPS, _TRACES)]
        egress.append(Noted(_OUTSIDE_NOTE, {"ports": outside}))
        return {"policyTypes": ["Ingress", "Egress"], "ingress": ingress, "egress": egress}

    def _of(self, processes: list[str]) -> Fields:
        """The pods of several processes."""
        labels = self._pods.labels("")
        component = next(key for key, value in labels.items() if not value)
        among = {"key": component, "operator": "In", "values": processes}
        del labels[component]
        return {"podSelector": {"matchLabels": labels, "matchExpressions": [among]}}


def _tcp(port: int) -> Fields:
    return {"protocol": "TCP", "port": port}
