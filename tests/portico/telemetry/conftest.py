from __future__ import annotations

from tests.portico.telemetry.greeting import greet

__all__ = ["greet"]
