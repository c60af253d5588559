"""Whether a call may go to another process now, and what its end says about that process."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

import grpc

from portico.errors import StatusError

if TYPE_CHECKING:
    from portico.resilience.breaker import CircuitBreaker, Permit
    from portico.resilience.bulkhead import Bulkhead

_Code = grpc.StatusCode
_FAILURES = frozenset({_Code.UNAVAILABLE, _Code.DEADLINE_EXCEEDED, _Code.INTERNAL, _Code.UNKNOWN})
_DOMAIN = "portico"
_NEARLY = 0.9  # a timer may fire a little early

CIRCUIT_OPEN = "CIRCUIT_OPEN"
BULKHEAD_FULL = "BULKHEAD_FULL"
OVERLOADED = "OVERLOADED"


class Guard:
    """Stands before one group of a target's rpcs: a bulkhead for all groups together, a circuit for this one.

    A unary call that takes longer than ``slow_seconds`` is slow. ``refused`` counts the calls that an
    open circuit kept from the target.
    """

    def __init__(
        self,
        target: str,
        *,
        bulkhead: Bulkhead,
        breaker: CircuitBreaker | None,
        slow_seconds: float,
    ) -> None:
        self.refused = 0
        self._target = target
        self._bulkhead = bulkhead
        self._breaker = breaker
        self._slow_seconds = slow_seconds

    def enter(self, *, most_seconds: float | None = None) -> Passage:
        """Let a call through, to which its edge gives ``most_seconds``; the passage must be told how it ended.

        RESOURCE_EXHAUSTED with reason BULKHEAD_FULL, UNAVAILABLE with reason CIRCUIT_OPEN: at once, and
        nothing has been sent.
        """
        bulkhead, breaker = self._bulkhead, self._breaker
        if not bulkhead.enter():
            raise self._full()
        if breaker is None:
            return Passage(bulkhead, None, self._slow_seconds, most_seconds)
        permit = breaker.admit()
        if permit is None:
            bulkhead.leave()
            self.refused += 1
            raise self._open(breaker)
        return Passage(bulkhead, permit, self._slow_seconds, most_seconds)

    def _full(self) -> StatusError:
        most = self._bulkhead.most
        return StatusError(
            _Code.RESOURCE_EXHAUSTED,
            f"{most} calls to {self._target} are under way already",
            reason=BULKHEAD_FULL,
            domain=_DOMAIN,
            metadata={"target": self._target, "most_calls": str(most)},
        )

    def _open(self, breaker: CircuitBreaker) -> StatusError:
        seconds = breaker.retry_after_seconds()
        return StatusError(
            _Code.UNAVAILABLE,
            f"{self._target} is not called: too many calls to it failed or were slow",
            reason=CIRCUIT_OPEN,
            domain=_DOMAIN,
            metadata={"target": self._target, "retry_after": f"{seconds:.1f}s"},
        )


class Passage:
    """One call that was let through. It ends once, by one of the three methods."""

    __slots__ = ("_bulkhead", "_most_seconds", "_permit", "_slow_seconds", "_started")

    def __init__(
        self,
        bulkhead: Bulkhead,
        permit: Permit | None,
        slow_seconds: float,
        most_seconds: float | None,
    ) -> None:
        self._bulkhead = bulkhead
        self._permit = permit
        self._slow_seconds = slow_seconds
        self._most_seconds = most_seconds
        self._started = monotonic()

    def succeeded(self, *, timed: bool) -> None:
        """It ended well. Only a ``timed`` call can be slow: a stream takes as long as it takes."""
        self._bulkhead.leave()
        if self._permit is not None:
            self._permit.record(failed=False, slow=timed and self._is_slow())

    def failed(self, rpc: Any, *, timed: bool) -> None:
        """It ended badly: the callee's trouble, its refusal, or a caller who gave up.

        A caller has also given up who gave the callee too little time: neither ``slow_seconds`` nor what
        the edge allows. Else any client could open the circuit for all the others, by its deadlines. And a
        callee that refuses what is too much for it is well, and serves the rest.

        Of ``rpc`` only the code is asked for: its headers may still be on their way, in the very thread
        that tells of its end.
        """
        self._bulkhead.leave()
        if self._permit is None:
            return
        code = rpc.code()
        if code is _Code.CANCELLED or (
            code is _Code.DEADLINE_EXCEEDED and not (timed and self._had_time())
        ):
            self._permit.release()
        else:
            self._permit.record(failed=code in _FAILURES, slow=timed and self._is_slow())

    def given_up(self) -> None:
        """It was never sent, or nobody waits for it: that says nothing about the callee."""
        self._bulkhead.leave()
        if self._permit is not None:
            self._permit.release()

    def _is_slow(self) -> bool:
        return monotonic() - self._started > self._slow_seconds

    def _had_time(self) -> bool:
        """Whether a callee that is well would have answered by now."""
        enough = self._slow_seconds
        if self._most_seconds is not None:
            enough = min(enough, self._most_seconds)
        return monotonic() - self._started > enough * _NEARLY
