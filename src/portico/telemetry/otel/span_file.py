"""Spans as lines of JSON in a file: for tests, and for people without a collector."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import orjson
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan


class SpanFile(SpanExporter):
    """Appends one line for each span; several processes may share a file."""

    def __init__(self, path: Path) -> None:
        """Folders on the way are made. OSError when the file cannot be written."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write them with one call, so that lines of several processes do not mix."""
        lines = b"".join(orjson.dumps(_described(span)) + b"\n" for span in spans)
        try:
            whole = os.write(self._descriptor, lines) == len(lines)
        except OSError:
            whole = False
        return SpanExportResult.SUCCESS if whole else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _described(span: ReadableSpan) -> dict[str, object]:
    own = span.get_span_context()
    return {
        "trace_id": "" if own is None else f"{own.trace_id:032x}",
        "span_id": "" if own is None else f"{own.span_id:016x}",
        "parent_id": "" if span.parent is None else f"{span.parent.span_id:016x}",
        "name": span.name,
        "kind": span.kind.name,
        "status": span.status.status_code.name,
        "start_ns": span.start_time,
        "end_ns": span.end_time,
        "process": span.resource.attributes.get("service.instance.id", ""),
        "attributes": dict(span.attributes or {}),
    }
