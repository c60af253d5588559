"""Which modules in other processes react to which events."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import grpc

from portico.v1 import events_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from portico.events.neighbour import Neighbour


class Elsewhere:
    """The other processes of a topology that react to anything."""

    def __init__(self, neighbours: Iterable[Neighbour] = (), *, process: str = "") -> None:
        """``process`` is the name of this one. A module in two processes is a ValueError."""
        self.process = process
        self.neighbours = {neighbour.process: neighbour for neighbour in neighbours}
        self.modules: frozenset[str] = frozenset()
        """All modules in these processes that react to anything."""
        self._by_type: dict[str, tuple[str, ...]] = defaultdict(tuple)
        for neighbour in self.neighbours.values():
            self._add(neighbour)

    def modules_for(self, event_type: str) -> tuple[str, ...]:
        """The modules elsewhere that react to events of this type."""
        return self._by_type.get(event_type, ())

    def ask(self, process: str, request_id: str, *, waiting: Sequence[str], seconds: float) -> bool:
        """Wait until a request has come to an end in another process; False when that takes longer."""
        neighbour = self.neighbours.get(process)
        if neighbour is None:
            return True
        request = pb.FollowRequest(request_id=request_id, waiting=(*waiting, self.process))
        try:
            return bool(neighbour.stub.Follow(request, timeout=seconds).settled)
        except grpc.RpcError:  # nobody knows, and nobody has to: it is a convenience
            return False

    def _add(self, neighbour: Neighbour) -> None:
        twice = self.modules & neighbour.reacts.keys()
        if twice:
            raise ValueError(f"module {min(twice)} is in two other processes")
        self.modules |= neighbour.reacts.keys()
        for module, types in neighbour.reacts.items():
            for each in types:
                self._by_type[each] += (module,)
