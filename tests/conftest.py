from __future__ import annotations

import pytest

from portico.testing.servers import database_url, databases, postgres, redis_url

__all__ = ["database_url", "databases", "postgres", "redis_url"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--topology NAME --events rpc|redis``: the journeys run on that one, with real processes."""
    parser.addoption(
        "--topology", default="monolith", help="the topology that the journeys are made on"
    )
    parser.addoption(
        "--events",
        default="rpc",
        choices=["rpc", "redis"],
        help="what takes events between its processes",
    )
