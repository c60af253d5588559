"""Where spans go, as the settings say; without a destination nothing of OpenTelemetry is even imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.export import SpanExporter

    from portico.telemetry.otel.tracer import Tracer

_TRACES = "/v1/traces"
_TIMEOUT_SECONDS = 5.0  # also how long a stop may wait for a collector that does not answer
_QUEUED = 8192
_BATCH = 512
_DELAY_MS = 1000


def open_tracer(
    *,
    application: str,
    process: str = "",
    otlp_endpoint: str | None = None,
    file: Path | None = None,
    ratio: float = 1.0,
) -> Tracer | None:
    """What makes spans and exports them, or None when there is nowhere to export them to.

    ``otlp_endpoint`` is a collector's address for OTLP over HTTP, such as ``http://127.0.0.1:4318``.
    ``file`` is a file to append to, or a folder (a name without a suffix) in which each process has
    a file of its own. ``ratio`` of the traces that begin here are recorded. Export takes place in a
    thread of its own; of what it cannot keep up with, spans beyond 8,192 are dropped. Raises OSError
    when the file cannot be written.
    """
    exporters: list[SpanExporter] = []
    if otlp_endpoint:
        exporters.append(_otlp(otlp_endpoint))
    if file is not None:
        from portico.telemetry.otel.span_file import SpanFile

        name = f"{process or application}.jsonl"
        exporters.append(SpanFile(file if file.suffix else file / name))
    if not exporters:
        return None
    from portico.telemetry.otel.tracer import Tracer

    return Tracer(
        application=application,
        process=process or application,
        processors=[_batched(exporter) for exporter in exporters],
        ratio=ratio,
    )


def _otlp(endpoint: str) -> SpanExporter:
    """Over HTTP and not over gRPC: export shares no channel, thread or fork handler with the calls."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    address = endpoint.rstrip("/")
    return OTLPSpanExporter(
        address if address.endswith(_TRACES) else address + _TRACES, timeout=_TIMEOUT_SECONDS
    )


def _batched(exporter: SpanExporter) -> SpanProcessor:
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return BatchSpanProcessor(
        exporter,
        max_queue_size=_QUEUED,
        schedule_delay_millis=_DELAY_MS,
        max_export_batch_size=_BATCH,
    )
