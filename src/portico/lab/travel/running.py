"""The application, or one process of it, started in this process of the laboratory."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from portico.lab.travel.application import application
from portico.program import Program
from portico.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.workflow import Workflows


@contextmanager
def running(
    *, topology: str = "", process: str = "", serve: bool = False, deliver: bool = True
) -> Iterator[Program]:
    """The program, for the block; its settings are those of the working folder, see ``Site``.

    Without ``topology`` all modules are here. Without ``deliver`` it neither delivers events nor
    takes up runs that others have left.
    """
    chosen = {"topology": topology, "process": process} if topology else {}
    settings = application.settings_class().load(chosen=chosen)
    logs.configure(settings.log_level, settings.log_format)
    program = Program(application, settings, serve=serve)
    program.start(deliver=deliver)
    try:
        yield program
    finally:
        program.stop()


def workflows_of(program: Program, module: str) -> Workflows:
    """The workflows of ``module`` in a program that has started."""
    storage = program.storage
    found = None if storage is None else storage.workflows(module)
    if found is None:
        raise RuntimeError(f"module {module} is not in this process")
    return found
