"""One span, as the kernel handles it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

from portico.telemetry.tracing import TraceParent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry import trace

    Attributes = Mapping[str, str | int]

Kind = Literal["internal", "client", "server", "consumer"]

_KINDS: dict[Kind, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "client": SpanKind.CLIENT,
    "server": SpanKind.SERVER,
    "consumer": SpanKind.CONSUMER,
}


class Span:
    """Under way from construction until ``end``; only the first ``end`` counts."""

    __slots__ = ("_otel", "_tracer")

    def __init__(self, otel: trace.Span, tracer: trace.Tracer) -> None:
        self._otel = otel
        self._tracer = tracer

    @classmethod
    def started(
        cls,
        tracer: trace.Tracer,
        above: Context,
        name: str,
        kind: Kind,
        attributes: Attributes | None,
    ) -> Span:
        """A new one; ``above`` says below which other."""
        otel = tracer.start_span(name, above, _KINDS[kind], attributes, record_exception=False)
        return cls(otel, tracer)

    def begin(
        self, name: str, *, kind: Kind = "internal", attributes: Attributes | None = None
    ) -> Span:
        """A new one below this."""
        return Span.started(self._tracer, self.context, name, kind, attributes)

    @property
    def context(self) -> Context:
        """What OpenTelemetry's own functions take for "below this span"."""
        return set_span_in_context(self._otel, Context())

    @property
    def place(self) -> TraceParent:
        """Where it is in its trace: the parent of whatever is below it, also in another process."""
        own = self._otel.get_span_context()
        return TraceParent(
            f"{own.trace_id:032x}", f"{own.span_id:016x}", sampled=own.trace_flags.sampled
        )

    def note(self, name: str, value: str | int) -> None:
        """Set an attribute."""
        self._otel.set_attribute(name, value)

    def end(self, *, error: str = "") -> None:
        """It is over; ``error`` says in words that it did not go well."""
        if error:
            self._otel.set_status(Status(StatusCode.ERROR, error))
        self._otel.end()
