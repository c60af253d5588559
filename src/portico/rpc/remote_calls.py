"""The four kinds of remote call, as stubs hold them."""

from __future__ import annotations

from time import monotonic
from typing import Any

import grpc

from portico.context import current_or_none
from portico.errors import StatusError
from portico.rpc.ended import Ended
from portico.rpc.inflight import LocalRpc
from portico.rpc.interfaces import Rpc, StreamStream, StreamUnary, UnaryStream, UnaryUnary
from portico.rpc.origin import REQUEST_ID_KEY, TRACE_KEY
from portico.rpc.policy import FOREVER_SECONDS
from portico.rpc.remote_rpc import TIME_IS_UP, RemoteRpc, translating
from portico.telemetry import tracing


class _RemoteCallable:
    """One method of the wrapped channel; grpcio's own options go on to it as they are."""

    def __init__(self, inner: Any, default_timeout_seconds: float | None) -> None:
        self._inner = inner
        self._default = default_timeout_seconds

    def _call(
        self, invoke: Any, request: Any, timeout: Any, metadata: Any, *more: Any, **named: Any
    ) -> Any:
        """What ``invoke`` returns, under the terms of the current call."""
        terms = self._terms(timeout, metadata)
        return translating(invoke, request, *terms, *more, **named)

    def _begin(
        self, invoke: Any, request: Any, timeout: Any, metadata: Any, *more: Any, **named: Any
    ) -> Rpc:
        """The call that ``invoke`` begins; what its terms forbid, the call tells."""
        try:
            terms = self._terms(timeout, metadata)
        except StatusError as error:
            return LocalRpc(Ended(error=error))
        rpc = RemoteRpc(translating(invoke, request, *terms, *more, **named))
        parent = current_or_none()
        if parent is not None:
            parent.line.has_under_way(rpc)
        return rpc

    def _terms(self, timeout: float | None, metadata: Any) -> tuple[float | None, Any]:
        """Timeout and metadata of a call made here and now."""
        parent = current_or_none()
        if parent is None:
            return self._within(timeout, None), metadata
        if parent.cancelled or parent.line.cancelled:
            raise StatusError(grpc.StatusCode.CANCELLED, "the calling call was cancelled")
        trace = tracing.TraceParent(parent.trace_id, tracing.new_span_id(), sampled=True)
        along = (REQUEST_ID_KEY, parent.request_id), (TRACE_KEY, str(trace))
        return self._within(timeout, parent.deadline), (*along, *(metadata or ()))

    def _within(self, timeout: float | None, deadline: float | None) -> float | None:
        left = None if deadline is None else deadline - monotonic()
        asked = [each for each in (timeout, left) if each is not None]
        chosen = min(asked) if asked else self._default
        if chosen is not None and chosen <= 0:  # grpcio would try, and with luck come through
            raise StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, TIME_IS_UP)
        return None if chosen is None or chosen >= FOREVER_SECONDS else chosen


class RemoteUnaryUnary(_RemoteCallable, UnaryUnary):
    """One message each way."""

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        *more: Any,
        **named: Any,
    ) -> Any:
        return self._call(self._inner, request, timeout, metadata, *more, **named)

    def with_call(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        *more: Any,
        **named: Any,
    ) -> tuple[Any, Rpc]:
        """The response, and the call with its headers and trailers."""
        found = self._call(self._inner.with_call, request, timeout, metadata, *more, **named)
        return found[0], RemoteRpc(found[1])

    def future(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        *more: Any,
        **named: Any,
    ) -> Rpc:
        """The call, under way."""
        return self._begin(self._inner.future, request, timeout, metadata, *more, **named)


class RemoteUnaryStream(_RemoteCallable, UnaryStream):
    """One request, a stream of responses."""

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        *more: Any,
        **named: Any,
    ) -> Rpc:
        return self._begin(self._inner, request, timeout, metadata, *more, **named)


class RemoteStreamUnary(_RemoteCallable, StreamUnary):
    """A stream of requests, one response."""

    def __call__(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        *more: Any,
        **named: Any,
    ) -> Any:
        return self._call(self._inner, request_iterator, timeout, metadata, *more, **named)

    def with_call(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        *more: Any,
        **named: Any,
    ) -> tuple[Any, Rpc]:
        """The response, and the call with its headers and trailers."""
        found = self._call(
            self._inner.with_call, request_iterator, timeout, metadata, *more, **named
        )
        return found[0], RemoteRpc(found[1])

    def future(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        *more: Any,
        **named: Any,
    ) -> Rpc:
        """The call, under way."""
        return self._begin(self._inner.future, request_iterator, timeout, metadata, *more, **named)


class RemoteStreamStream(_RemoteCallable, StreamStream):
    """A stream each way."""

    def __call__(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        *more: Any,
        **named: Any,
    ) -> Rpc:
        return self._begin(self._inner, request_iterator, timeout, metadata, *more, **named)
