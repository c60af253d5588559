"""Calls to another process, counted where they are made: also those that never arrive."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.rpc.policy import Observer

_OK = 0
_UNKNOWN: int = grpc.StatusCode.UNKNOWN.value[0]


class CountedCallable:
    """One method of a channel, of any of the four kinds; each call is counted once, when it ends."""

    def __init__(self, inner: Any, observer: Observer, *, streams_responses: bool) -> None:
        self._inner = inner
        self._observe = observer.observe
        self._streams_responses = streams_responses

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """The response, or the call that brings the responses."""
        if self._streams_responses:
            return self._begin(self._inner, *arguments, **named)
        return self._wait(self._inner, *arguments, **named)

    def with_call(self, *arguments: Any, **named: Any) -> Any:
        """The response, and the call."""
        return self._wait(self._inner.with_call, *arguments, **named)

    def future(self, *arguments: Any, **named: Any) -> Any:
        """The call, under way."""
        return self._begin(self._inner.future, *arguments, **named)

    def _wait(self, invoke: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        started = monotonic()
        try:
            found = invoke(*arguments, **named)
        except grpc.RpcError as error:
            self._observe(_number(error), monotonic() - started)
            raise
        self._observe(_OK, monotonic() - started)
        return found

    def _begin(self, invoke: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        started = monotonic()
        rpc = invoke(*arguments, **named)
        # What tells of the end must not hold the call: one that nobody holds is given up.
        rpc.add_done_callback(lambda ended: self._observe(_number(ended), monotonic() - started))
        return rpc


def _number(ended: Any) -> int:
    """The status of a call that is over, as a number."""
    code = ended.code()
    return code.value[0] if isinstance(code, grpc.StatusCode) else _UNKNOWN
