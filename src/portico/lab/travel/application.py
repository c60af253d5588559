"""The application: two modules, in one process or in two."""

from __future__ import annotations

from portico.app import Application
from portico.lab.travel import reservations, trips

# Migrations and topologies are looked for where a process runs: the laboratory writes them there.
application = Application(name="travel", modules=[reservations.module, trips.module])
