from __future__ import annotations

from tests.journeys.served import fresh, topology

__all__ = ["fresh", "topology"]
