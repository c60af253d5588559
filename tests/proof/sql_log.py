"""What Postgres itself has logged of one request: every statement, by the transaction and process it belongs to."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, event

from portico.context import current

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

# Process id of the server, transaction id if there is one yet, application: "portico orders".
_PREFIX = "%p %x %a>"
_ENTRY = re.compile(
    r"^(?P<pid>\d+) (?P<xid>\d+) (?P<application>[^>\n]*)>LOG:  (?P<kind>statement|execute [^:]+): "
    r"(?P<words>.*?)(?=^\d+ \d+ [^>\n]*>|\Z)",
    re.DOTALL | re.MULTILINE,
)
_MARK = re.compile(r"\s*/\*> (?P<request>\S*) (?P<root>\S*) (?P<step>\S*) <\*/")
_WRITTEN = re.compile(r'\b(?:INSERT INTO|UPDATE|DELETE FROM)\s+("?\w+"?\."?\w+"?)', re.IGNORECASE)

# Only rows that nobody changes afterwards: an UPDATE would put its own transaction there.
_WRITERS = """
SELECT xmin::text::bigint FROM orders.order_items WHERE order_id = %(order)s
UNION SELECT xmin::text::bigint FROM orders.requests WHERE order_id = %(order)s
UNION SELECT xmin::text::bigint FROM inventory.reservation_lines WHERE reservation_id = %(order)s
UNION SELECT xmin::text::bigint FROM inventory.movements WHERE reservation_id = %(order)s
UNION SELECT xmin::text::bigint FROM payments.postings WHERE payment_id = %(payment)s
"""


@dataclass(frozen=True)
class Statement:
    """As the server ran it, with its spaces made one."""

    words: str
    request: str = ""
    root: str = ""
    """The call that came into the process, and led to it; empty for the kernel's own work."""
    step: str = ""

    @property
    def writes(self) -> list[str]:
        """The tables, with their schemas, in the order in which they are named."""
        found = [each.replace('"', "") for each in _WRITTEN.findall(self.words)]
        return list(dict.fromkeys(found))


@dataclass
class Work:
    """A transaction, or a statement outside of any; ``ended`` is COMMIT, ROLLBACK or empty."""

    pid: int
    process: str
    statements: list[Statement] = field(default_factory=list)
    ended: str = ""
    xid: int = 0

    @property
    def writes(self) -> list[str]:
        """The tables that it wrote."""
        return list(dict.fromkeys(table for each in self.statements for table in each.writes))

    @property
    def method(self) -> str:
        """``Service/Method`` of the call that it was done for."""
        root = next(each.root for each in self.statements if each.root)
        return root.rpartition(".")[2]

    @property
    def step(self) -> str:
        """The workflow's step, where that runs in the same process."""
        return next((each.step for each in self.statements if each.step), "")


class SqlLog:
    """The log of a server, as far as it grows from now on."""

    def __init__(self, outside: psycopg.Connection[Any]) -> None:
        """``outside`` is a superuser's."""
        shown = outside.execute("SHOW data_directory").fetchall()[0][0]
        self._path = Path(shown).parent / "postgres.log"
        self._from = self._path.stat().st_size

    def of(self, request: str) -> list[Work]:
        """What was done for a request: not what reacted to its events afterwards."""
        with self._path.open("rb") as file:
            file.seek(self._from)
            said = file.read().decode()
        return [
            work
            for work in _works(said)
            if any(
                each.request == request and each.root.startswith("/commerce.")
                for each in work.statements
            )
        ]


def writers_of(outside: psycopg.Connection[Any], order: Any) -> set[int]:
    """The transactions that have written the rows of an order, as those rows say themselves."""
    names = {"order": order["orderId"], "payment": order["paymentId"]}
    return {xid for (xid,) in outside.execute(_WRITERS.encode(), names).fetchall()}


def log_everything(outside: psycopg.Connection[Any]) -> None:
    """Have the server log every statement of the connections that are opened from now on."""
    outside.execute("ALTER SYSTEM SET log_statement = 'all'")
    outside.execute(f"ALTER SYSTEM SET log_line_prefix = '{_PREFIX}'".encode())
    outside.execute("SELECT pg_reload_conf()")


def mark_statements() -> None:
    """Have every statement of this process say, in a comment, on whose behalf it runs. There is no way back."""

    def marked(
        _connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any
    ) -> tuple[str, Any]:
        return statement + _mark(), parameters

    event.listen(Engine, "before_cursor_execute", marked, retval=True)


def _mark() -> str:
    call = root = current()
    while root.parent is not None:
        root = root.parent
    step = "" if call.step is None else call.step.key.rpartition("/")[2]
    return f" /*> {call.request_id} {root.method} {step} <*/"


def _works(log: str) -> Iterator[Work]:
    """In the order in which they ended."""
    open_ones: dict[int, Work] = {}
    for entry in _ENTRY.finditer(log):
        pid, process = int(entry["pid"]), entry["application"].removeprefix("portico").strip()
        # Only the simple protocol takes several at once.
        parts = entry["words"].split(";") if entry["kind"] == "statement" else [entry["words"]]
        for words in parts:
            statement = _statement(words)
            verb = statement.words.partition(" ")[0].upper()
            if verb == "BEGIN":
                open_ones[pid] = Work(pid, process)
            work = open_ones.get(pid) or Work(pid, process)
            if not statement.words:
                continue
            work.statements.append(statement)
            work.xid = int(entry["xid"]) or work.xid
            if verb == "COMMIT" or (verb == "ROLLBACK" and " TO " not in statement.words):
                work.ended = verb
            if work.ended or pid not in open_ones:
                open_ones.pop(pid, None)
                yield work


def _statement(words: str) -> Statement:
    mark = _MARK.search(words)
    told = mark.groupdict() if mark else {}
    return Statement(" ".join(_MARK.sub("", words).split()), **told)
