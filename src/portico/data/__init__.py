"""Storage: a module's tables in Postgres, transactions that several modules share, migrations.

A module is given a :class:`Database`; whoever starts the program makes the :class:`Engine`.
"""

from __future__ import annotations

from portico.data.database import Database
from portico.data.engine import Engine
from portico.data.errors import TransactionMisuseError, constraint, translating
from portico.data.guard import ForeignTableError
from portico.data.postgres import EmbeddedPostgres
from portico.data.transaction import on_commit

__all__ = [
    "Database",
    "EmbeddedPostgres",
    "Engine",
    "ForeignTableError",
    "TransactionMisuseError",
    "constraint",
    "on_commit",
    "translating",
]
