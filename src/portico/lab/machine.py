"""The machine that measures, so that numbers are told together with where they come from."""

from __future__ import annotations

import os
import platform
import resource
from importlib.metadata import version
from pathlib import Path


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


def processors() -> set[int] | None:
    """The processors that this process may use; None where the operating system does not say."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None


def keep_on(numbers: set[int] | None) -> None:
    """Let this process use those processors, as ``processors`` told them."""
    if numbers is not None:
        os.sched_setaffinity(0, numbers)


def resident_bytes() -> int:
    """Memory that this process holds; 0 where the operating system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * resource.getpagesize()


def children_cpu_seconds(pid: int) -> float:
    """Processor time that the children of process ``pid`` have taken; 0 where the system does not say.

    Of those that have ended nothing is told.
    """
    found = [_of_child(stat, pid) for stat in Path("/proc").glob("[0-9]*/stat")]
    return sum(found) / os.sysconf("SC_CLK_TCK")


def _of_child(stat: Path, parent: int) -> int:
    """Ticks of the process that ``stat`` tells of; 0 when it has gone or is not a child of ``parent``."""
    try:
        fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(") ")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12]) if int(fields[1]) == parent else 0
