"""What an application would lose if one of its modules moved to another process: ``portico check split``.

Everything is read: manifests, contracts, workflows as they are defined, and the modules' own source. The
source is followed from where it begins to run (rpcs, reactions, steps) through calls that stay in the
process, by annotations and assignments; a call on something unknown counts when its name is an rpc's. What is
put together at run time, such as ``getattr`` with a computed name, is not seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.check.split.examination import Examination
from portico.check.split.move import Move

if TYPE_CHECKING:
    from pathlib import Path

    from portico.app import Application
    from portico.check.split.report import Report

__all__ = ["report"]


def report(
    application: Application, module: str, *, to: str | None = None, topology: Path | None = None
) -> Report:
    """What happens when ``module`` moves to the process ``to`` of the topology; by default, to one of its own.

    ``topology`` is a file or a name, as for ``Application.topology``. Raises TopologyError for a move that
    cannot be, and ModuleError for an application that does not fit together.
    """
    move = Move.of(
        module, to=to, topology=application.topology(topology), modules=application.modules
    )
    return Examination(application, move).report()
