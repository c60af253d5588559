"""The four kinds of remote call, as stubs hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from portico.context import current_or_none
from portico.errors import StatusError
from portico.rpc.ended import Ended
from portico.rpc.inflight import LocalRpc
from portico.rpc.interfaces import Rpc, StreamStream, StreamUnary, UnaryStream, UnaryUnary
from portico.rpc.remote_rpc import RemoteRpc, translating

if TYPE_CHECKING:
    from portico.rpc.allowance import Allowance
    from portico.rpc.departure import Departure


class _RemoteCallable:
    """One method of the wrapped channel; grpcio's own options go on to it as they are."""

    runs_in_step = False
    """Whether a call that is waited for belongs to the workflow step around it, as in one process:
    what has a thread of its own does not."""

    def __init__(self, inner: Any, allowance: Allowance, departure: Departure) -> None:
        self._inner = inner
        self._allowance = allowance
        self._departure = departure

    def _call(
        self, invoke: Any, request: Any, timeout: Any, metadata: Any, *more: Any, **named: Any
    ) -> Any:
        """What ``invoke`` returns, under the terms of the current call."""
        terms = self._terms(timeout, metadata, in_step=self.runs_in_step)
        return translating(invoke, request, *terms, *more, **named)

    def _begin(
        self, invoke: Any, request: Any, timeout: Any, metadata: Any, *more: Any, **named: Any
    ) -> Rpc:
        """The call that ``invoke`` begins; what its terms forbid, the call tells."""
        try:
            terms = self._terms(timeout, metadata, in_step=False)
        except StatusError as error:
            return LocalRpc(Ended(error=error))
        rpc = RemoteRpc(translating(invoke, request, *terms, *more, **named))
        parent = current_or_none()
        if parent is not None:
            parent.line.has_under_way(rpc)
        return rpc

    def _terms(
        self, timeout: float | None, metadata: Any, *, in_step: bool
    ) -> tuple[float | None, Any]:
        """Timeout and metadata of a call made here and now."""
        parent = current_or_none()
        if parent is not None and (parent.cancelled or parent.line.cancelled):
            raise StatusError(grpc.StatusCode.CANCELLED, "the calling call was cancelled")
        left = self._allowance.seconds(timeout, None if parent is None else parent.deadline)
        self._departure.check(parent, in_step=in_step)
        return left, self._departure.metadata(parent, metadata, in_step=in_step)


class RemoteUnaryUnary(_RemoteCallable, UnaryUnary):
    """One message each way."""

    runs_in_step = True

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
