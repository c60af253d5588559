"""Where the modules of the shop run in the proof, and what carries events from process to process."""

from __future__ import annotations

from pathlib import Path

from emporium.app import application
from tests.journeys.served import by_redis

_BY_REDIS = "+redis"

PLACEMENTS = (
    "apart",
    "payments-apart",
    f"apart{_BY_REDIS}",
    f"payments-apart{_BY_REDIS}",
    "monolith",
)


def is_by_redis(placement: str) -> bool:
    """Whether events go by Redis; else they go by calls."""
    return placement.endswith(_BY_REDIS)


def topology_file(placement: str, folder: Path) -> Path:
    """The topology of this placement: one that comes with the shop, or such a one with another line, in ``folder``."""
    if is_by_redis(placement):
        return by_redis(placement.removesuffix(_BY_REDIS), folder)
    return application.topology_file(Path(placement))
