"""The channels of one process: who calls reaches a service wherever its module runs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from portico.rpc.forward import forwarders
from portico.rpc.local import LocalChannel
from portico.rpc.placed import PlacedChannel

if TYPE_CHECKING:
    import grpc

    from portico.hops import Neighbours
    from portico.placement import Placement
    from portico.rpc.interfaces import Handler
    from portico.rpc.policy import Policy
    from portico.rpc.registry import Registry


class Channels:
    """A channel for each module that calls, and one for the world outside.

    ``neighbours`` are the other processes; None where there is one process alone.
    """

    def __init__(
        self,
        placement: Placement,
        registry: Registry,
        policy: Policy,
        *,
        neighbours: Neighbours | None,
    ) -> None:
        self._placement = placement
        self._registry = registry
        self._policy = policy
        self._neighbours = neighbours
        self._open: dict[str, grpc.Channel] = {}

    def of(self, caller: str) -> grpc.Channel:
        """The channel of module ``caller`` or, if empty, of the world outside; the same one every time."""
        if caller not in self._open:
            self._open[caller] = self._channel(caller)
        return self._open[caller]

    def forwarded(self) -> dict[str, dict[str, Handler]]:
        """What clients may call here and other processes serve: gRPC's handlers, by service and method."""
        elsewhere = [
            module
            for process in self._placement.elsewhere()
            for module in self._placement.modules_of(process)
        ]
        return forwarders(elsewhere, self.of(""))

    def _channel(self, caller: str) -> grpc.Channel:
        if self._neighbours is None and not self._placement.topology.edges:
            return LocalChannel(self._registry, policy=self._policy, caller=caller)
        return PlacedChannel(partial(self._reach, caller))

    def _reach(self, caller: str, service: str) -> grpc.Channel:
        """The way from ``caller`` to ``service``, under the terms of that edge."""
        edge = self._placement.topology.edge(caller, self._placement.module_of(service))
        seconds = None if edge.timeout_ms is None else edge.timeout_ms / 1000
        home = self._placement.home(service)
        if home is not None and self._neighbours is not None:
            return self._neighbours.channel(
                home, caller=caller, timeout_seconds=seconds, tracer=self._policy.tracer
            )
        return LocalChannel(
            self._registry,
            policy=self._policy,
            caller=caller,
            share=edge.isolation == "share",
            timeout_seconds=seconds,
        )
