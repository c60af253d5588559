"""A span for each statement that a traced call sends, in the tree below that call.

What the kernel writes for itself (outbox, inbox, the log of workflows, transaction control) has none:
it depends on the placement, and a trace shows what the modules do.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sqlalchemy import event

from portico.context import current_or_none
from portico.telemetry.spans import nearest

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy import Engine as SqlalchemyEngine
    from sqlalchemy.engine import ExceptionContext

    from portico.telemetry.otel.span import Span

_KEY = "portico.span"
_MOST_REMEMBERED = 2_000
_LONGEST_STATEMENT = 4_000

_KERNELS = re.compile(r'"\w+"\.(?:outbox|outbox_elsewhere|inbox|workflow_\w+)\b')
_NAME = r'\s+(?:ONLY\s+)?"?(?P<schema>\w+)"?\."?(?P<table>\w+)"?'
# What a statement writes says more of it than what it reads on the way.
_WRITES = re.compile(
    r"\b(?P<verb>INSERT(?=\s+INTO)|DELETE(?=\s+FROM)|MERGE(?=\s+INTO)|UPDATE)(?:\s+(?:INTO|FROM))?"
    + _NAME,
    re.IGNORECASE,
)
_READS = re.compile(rf"\b(?P<verb>SELECT)\b(?:.*?\bFROM{_NAME})?", re.IGNORECASE | re.DOTALL)
_TEXT = re.compile(r"'(?:[^']|'')*'")

_Described = tuple[str, dict[str, str | int]]


def attach(engine: SqlalchemyEngine) -> None:
    """Have every statement over ``engine`` make a span where its call is traced."""
    spans = _StatementSpans()
    event.listen(engine, "before_cursor_execute", spans.before)
    event.listen(engine, "after_cursor_execute", spans.after)
    event.listen(engine, "handle_error", spans.failed)


class _StatementSpans:
    def __init__(self) -> None:
        self._described: dict[str, _Described | None] = {}

    def before(self, connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        above = nearest(current_or_none())
        if above is None:
            return
        described = self._of(statement)
        if described is not None:
            name, attributes = described
            connection.info[_KEY] = above.begin(name, kind="client", attributes=attributes)

    def after(self, connection: Connection, *_: Any) -> None:
        span: Span | None = connection.info.pop(_KEY, None)
        if span is not None:
            span.end()

    def failed(self, context: ExceptionContext) -> None:
        if context.connection is None or context.connection.invalidated:
            return
        span: Span | None = context.connection.info.pop(_KEY, None)
        if span is not None:
            # Postgres' own words may hold the values of a row.
            span.end(error=type(context.original_exception).__name__)

    def _of(self, statement: str) -> _Described | None:
        """Name and attributes; None for one of the kernel's own. Found out once per statement."""
        try:
            return self._described[statement]
        except KeyError:
            if len(self._described) >= _MOST_REMEMBERED:
                self._described = {}
            described = self._described[statement] = describe(statement)
            return described


def describe(statement: str) -> _Described | None:
    """The name and the attributes of the span of ``statement``; None for the kernel's own.

    The statement is told without values: they are parameters, and texts in it are left out.
    """
    found = _WRITES.search(statement) or _READS.search(statement)
    if found is None or _KERNELS.search(statement):
        return None
    operation = found["verb"].upper()
    attributes: dict[str, str | int] = {
        "db.system": "postgresql",
        "db.operation": operation,
        "db.statement": _TEXT.sub("'?'", statement.strip())[:_LONGEST_STATEMENT],
    }
    schema, table = found["schema"], found["table"]
    if table is None:
        return operation, attributes
    attributes |= {"db.name": schema, "db.sql.table": table}
    return f"{operation} {schema}.{table}", attributes
