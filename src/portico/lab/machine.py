"""The machine that measures, so that numbers are told together with where they come from."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version


def described() -> dict[str, object]:
    """What a reader needs to know to compare numbers."""
    return {
        "python": platform.python_version(),
        "grpcio": version("grpcio"),
        "protobuf": version("protobuf"),
        "system": platform.platform(),
        "processors": os.cpu_count(),
    }


def keep_on_processor(number: int, *, process: int = 0) -> bool:
    """Keep ``process`` (0: this one) on the ``number``-th processor that it may use; False where we may not.

    With fewer processors than that, nothing is done.
    """
    if not hasattr(os, "sched_setaffinity"):
        return False
    allowed = sorted(os.sched_getaffinity(process))
    if number >= len(allowed):
        return False
    os.sched_setaffinity(process, {allowed[number]})
    return True
