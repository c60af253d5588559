"""Below which span a new one belongs: found in the tree of calls, never in a contextvar."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from portico.rpc.metadata import first_of_each
from portico.rpc.origin import TRACE_KEY
from portico.telemetry.spans import nearest
from portico.telemetry.tracing import TraceParent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.context import Call
    from portico.rpc.metadata import Metadata


class TraceIds(RandomIdGenerator):
    """Ids as OpenTelemetry draws them, but a call that has a trace id keeps it.

    Its log lines may have been written under that id before its first span begins.
    """

    def __init__(self) -> None:
        self._here = _Here()

    def generate_trace_id(self) -> int:
        """An id of 128 bits, for a span without one above it."""
        return self._here.wanted or super().generate_trace_id()

    @contextmanager
    def kept(self, trace_id: str) -> Iterator[None]:
        """A trace that begins in the block gets ``trace_id``; empty for any."""
        before, self._here.wanted = self._here.wanted, int(trace_id or "0", 16)
        try:
            yield
        finally:
            self._here.wanted = before


class _Here(threading.local):
    wanted = 0


class Parentage:
    """Finds the place of a new span."""

    def __init__(self, ids: TraceIds) -> None:
        self._ids = ids

    @contextmanager
    def of(self, call: Call | None, metadata: Metadata = ()) -> Iterator[Context]:
        """What a span is below that begins in the block and belongs to ``call``, if there is one.

        The spans of ``call`` and of those above it come first; then the ``traceparent`` in
        ``metadata``, which are empty where they do not count, or the one that the call entered the
        process with. Else a trace begins.
        """
        above = nearest(call)
        if above is not None:
            yield above.context
            return
        trace = _sent(metadata) or _entered_with(call)
        if trace is not None:
            yield below(trace)
            return
        with self._ids.kept("" if call is None else call.trace_id):
            yield Context()

    @contextmanager
    def current(self, call: Call | None, metadata: Metadata) -> Iterator[None]:
        """The same, for what asks OpenTelemetry's own context."""
        with self.of(call, metadata) as above:
            token = attach(above)
            try:
                yield
            finally:
                detach(token)


def below(trace: TraceParent) -> Context:
    """What a span is below whose parent is in another process."""
    place = SpanContext(
        int(trace.trace_id, 16),
        int(trace.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if trace.sampled else TraceFlags.DEFAULT),
    )
    return set_span_in_context(NonRecordingSpan(place), Context())


def _sent(metadata: Metadata) -> TraceParent | None:
    if not metadata:
        return None
    header = first_of_each(metadata).get(TRACE_KEY)
    return None if header is None else TraceParent.parse(str(header))


def _entered_with(call: Call | None) -> TraceParent | None:
    if call is None or not call.origin.span_id:
        return None
    return TraceParent(call.trace_id, call.origin.span_id, sampled=True)
