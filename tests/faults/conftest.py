from __future__ import annotations

from tests.journeys.served import fresh, own

__all__ = ["fresh", "own"]
