"""The entries that a workflow's log gets, each with the transaction that wrote it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.proof.server import address

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import URL

# The table has the last entry alone: a trigger, which the product knows nothing of, keeps all of them.
_WATCH = """
CREATE SCHEMA proof;
CREATE TABLE proof.entries (xid bigint, run_id text, step integer, direction text, status text);
CREATE FUNCTION proof.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO proof.entries
    VALUES (pg_current_xact_id()::text::bigint, NEW.id::text, NEW.step, NEW.direction, NEW.status);
    RETURN NEW;
END $$;
CREATE TRIGGER proof AFTER INSERT OR UPDATE ON orders.workflow_runs
FOR EACH ROW EXECUTE FUNCTION proof.note();
"""


@dataclass(frozen=True)
class Entry:
    """``step`` is how many steps are done."""

    run_id: str
    step: int
    direction: str
    status: str


class RunLog:
    """What is written into ``orders.workflow_runs`` from now on."""

    def __init__(self, outside: psycopg.Connection[Any]) -> None:
        """``outside`` is a superuser's."""
        outside.execute(_WATCH.encode())
        self._outside = outside

    def of_all(self) -> dict[int, Entry]:
        """Every entry in order, by transaction id."""
        rows = self._outside.execute("SELECT * FROM proof.entries ORDER BY xid").fetchall()
        return {xid: Entry(*more) for xid, *more in rows}

    def of_undone(self) -> list[list[Entry]]:
        """The entries of each run that was undone."""
        runs: dict[str, list[Entry]] = {}
        for entry in self.of_all().values():
            runs.setdefault(entry.run_id, []).append(entry)
        return [entries for entries in runs.values() if entries[-1].status == "UNDONE"]


def inspect(run_id: str, url: URL) -> str:
    """What ``portico workflow inspect`` prints, on one line."""
    done = subprocess.run(
        [sys.executable, "-m", "portico", "workflow", "inspect", run_id],
        env={
            **{name: value for name, value in os.environ.items() if "PORTICO" not in name},
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PORTICO_APP": "emporium.app:application",
            "PORTICO_DATABASE_URL": address(url),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"portico workflow inspect: {done.stderr}")
    return json.dumps(json.loads(done.stdout))
