"""The four kinds of call to another process, each behind its guard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from portico.errors import StatusError
from portico.rpc.ended import Ended
from portico.rpc.inflight import LocalRpc
from portico.rpc.interfaces import StreamStream, StreamUnary, UnaryStream, UnaryUnary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portico.rpc.guard import Guard, Passage
    from portico.rpc.link import Link


class _Guarded:
    """One method, over whichever channel its link has; ``make`` makes grpcio's own callable from that."""

    _inner: Any
    timed = False
    """Whether the time that a call takes says something about the callee."""

    def __init__(
        self,
        link: Link,
        guard: Guard,
        make: Callable[[grpc.Channel], Any],
        *,
        most_seconds: float | None = None,
    ) -> None:
        self._guard = guard
        self._most_seconds = most_seconds
        self._make = make
        link.bind(self)

    def bind(self, channel: grpc.Channel) -> None:
        """Make calls over ``channel`` from now on."""
        self._inner = self._make(channel)

    def _call(self, invoke: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """What ``invoke`` returns when the call is over."""
        passage = self._guard.enter(most_seconds=self._most_seconds)
        try:
            found = invoke(*arguments, **named)
        except grpc.RpcError as failure:
            passage.failed(failure, timed=self.timed)
            raise
        except BaseException:
            passage.given_up()
            raise
        passage.succeeded(timed=self.timed)
        return found

    def _begin(self, invoke: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """The call that ``invoke`` begins; a call that is not let through tells so itself."""
        try:
            passage = self._guard.enter(most_seconds=self._most_seconds)
        except StatusError as error:
            return LocalRpc(Ended(error=error))
        try:
            rpc = invoke(*arguments, **named)
        except BaseException:
            passage.given_up()
            raise

        def ended() -> None:
            _tell(passage, rpc, timed=self.timed)

        if not rpc.add_callback(ended):
            ended()
        return _Held(rpc)


@grpc.Future.register  # what it does not do itself, the call does
class _Held:
    """A call under way, cancelled when nobody holds this any more.

    grpcio's own object cannot tell: until the call ends its callback holds it.
    """

    def __init__(self, rpc: Any) -> None:
        self._rpc = rpc

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rpc, name)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._rpc)

    def __del__(self) -> None:
        if not self._rpc.done():
            self._rpc.cancel()


def _tell(passage: Passage, rpc: Any, *, timed: bool) -> None:
    if rpc.code() is grpc.StatusCode.OK:
        passage.succeeded(timed=timed)
    else:
        passage.failed(rpc, timed=timed)


class GuardedUnaryUnary(_Guarded, UnaryUnary):
    """One message each way."""

    timed = True

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._call(self._inner, *arguments, **named)

    def with_call(self, *arguments: Any, **named: Any) -> Any:
        """The response, and the call with its headers and trailers."""
        return self._call(self._inner.with_call, *arguments, **named)

    def future(self, *arguments: Any, **named: Any) -> Any:
        """The call, under way."""
        return self._begin(self._inner.future, *arguments, **named)


class GuardedUnaryStream(_Guarded, UnaryStream):
    """One request, a stream of responses."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._begin(self._inner, *arguments, **named)


class GuardedStreamUnary(_Guarded, StreamUnary):
    """A stream of requests, one response."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._call(self._inner, *arguments, **named)

    def with_call(self, *arguments: Any, **named: Any) -> Any:
        """The response, and the call with its headers and trailers."""
        return self._call(self._inner.with_call, *arguments, **named)

    def future(self, *arguments: Any, **named: Any) -> Any:
        """The call, under way."""
        return self._begin(self._inner.future, *arguments, **named)


class GuardedStreamStream(_Guarded, StreamStream):
    """A stream each way."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._begin(self._inner, *arguments, **named)
