"""Whether a database can hold all the connections that the processes of a topology may open."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class TooManyConnectionsError(RuntimeError):
    """The pools together are larger than the database allows; the message has the arithmetic."""


class Demand(NamedTuple):
    """The connections that one kind of process may open: so many workers in so many replicas.

    Each of them has a pool, and one more to hear of other processes' events. Reactions, and threads that
    recover workflows, take theirs from the pool.
    """

    process: str
    workers: int
    replicas: int
    pool_size: int

    @property
    def connections(self) -> int:
        """All of them together."""
        return self.workers * self.replicas * (self.pool_size + 1)

    def __str__(self) -> str:
        return (
            f"{self.process}: {self.workers} workers x {self.replicas} replicas"
            f" x ({self.pool_size} + 1) connections = {self.connections}"
        )


def refuse_excess(demands: Sequence[Demand], allowed: int, *, database: str) -> None:
    """Raise TooManyConnectionsError when the demands together are more than ``allowed``.

    Told at the start, where a person sees it, and not at the worst hour by a connection that is refused.
    """
    total = sum(demand.connections for demand in demands)
    if total > allowed:
        told = "\n".join(f"  {demand}" for demand in demands)
        raise TooManyConnectionsError(
            f"the pools of all processes together want {total} connections, and {database} allows"
            f" {allowed} (max_connections less those it keeps back):\n{told}\n"
            "  raise max_connections, or lower pool_size, workers or replicas in the topology"
        )
