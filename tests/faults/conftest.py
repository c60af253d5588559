from __future__ import annotations

from tests.journeys.served import fresh, own, served, topology

__all__ = ["fresh", "own", "served", "topology"]
