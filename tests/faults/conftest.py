from __future__ import annotations

from tests.journeys.served import carrier, fresh, own, served, topology

__all__ = ["carrier", "fresh", "own", "served", "topology"]
