"""What a forked process does: it is one process of Emporium, with points at which faults can happen.

Importing this imports everything that such a process needs, and starts nothing.
"""

from __future__ import annotations

import importlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emporium.app import application
from portico.events import RelaySettings
from portico.events.streams import Streams
from portico.program import Program
from portico.testing.instrument import instrument
from portico.workflow import WorkflowSettings
from tests.proof import planted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.testing.faults import Faults

ENVIRONMENT = {
    "PORTICO_APP": "emporium.app:application",
    "PORTICO_DEMO": "true",
    "PORTICO_GRPC_PORT": "0",
    "PORTICO_LOG_LEVEL": "warning",
    "PORTICO_LOG_FORMAT": "json",
    "PORTICO_AUTH__ARGON2_PASSES": "1",
    "PORTICO_AUTH__ARGON2_MEMORY_KIB": "32",
    "PORTICO_REMOTE__MOST_RECONNECT_MS": "100",
    "PORTICO_REMOTE__OPEN_SECONDS": "0.2",
}

# Nothing is different but how long is waited between two attempts.
_HASTY: Mapping[Any, Mapping[str, float]] = {
    WorkflowSettings.__init__: {
        "step_delay_seconds": 0.01,
        "poll_seconds": 0.1,
        "idle_poll_seconds": 0.1,
        "first_delay_seconds": 0.05,
        "longest_delay_seconds": 0.2,
    },
    RelaySettings.__init__: {
        "poll_seconds": 0.2,
        "max_attempts": 100,
        "first_delay_seconds": 0.05,
        "longest_delay_seconds": 0.2,
        "first_pause_seconds": 0.05,
        "longest_pause_seconds": 0.2,
    },
    Streams.reader: {"silent_seconds": 0.6},
}

# What a program imports only once it needs it, as every one here does.
for _module in (
    "alembic.command",
    "alembic.context",
    "encodings.idna",
    "grpc._channel",
    "mako.ext.pygmentplugin",
    "portico.data.migrations",
    "portico.delivery",
    "portico.events.provenance",
    "portico.gateway.fast",
    "portico.hops",
    "portico.storage",
    "sqlalchemy.ext.compiler",
    "uvicorn.lifespan.off",
    "uvicorn.loops.asyncio",
):
    importlib.import_module(_module)


def live(told: dict[str, Any], faults: Faults) -> None:
    """Start the process that ``told`` names, and return when it serves."""
    os.environ.update(told["environment"])
    for made, hasty in _HASTY.items():
        defaults: dict[str, float] = made.__kwdefaults__
        assert hasty.keys() <= defaults.keys()
        defaults.update(hasty)
    planted.plant(told["plant"])
    instrument(faults, services="commerce.")
    settings = application.settings_class().load(folder=Path(tempfile.gettempdir()))
    Program(application, settings).start()
