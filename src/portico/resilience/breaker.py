"""A circuit breaker: it stops calling what fails, and tries again after a while.

The rules and the names are Resilience4j's, with a count-based sliding window. Two things differ. A call
counts in the state in which it began: one that was under way when the circuit opened decides nothing
later. And probes that never end are replaced by new ones, so that no circuit stays half open for ever.
Source: https://resilience4j.readme.io/docs/circuitbreaker.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable


class State(Enum):
    """The three states, with the number that a gauge shows."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """When a circuit opens, and how it closes again.

    Rates are shares of the calls in the window, 0 to 1; a circuit opens when one of them reaches its
    threshold. ``calls`` is the size of the window: the last so many calls count, and fewer than
    ``least_calls`` decide nothing.
    """

    failure_rate: float = 0.5
    slow_rate: float = 0.75
    calls: int = 20
    least_calls: int = 10
    open_seconds: float = 10.0
    probes: int = 3


class Watcher(Protocol):
    """Told of each change of state, once."""

    def __call__(self, state: State, *, failure_rate: float, slow_rate: float) -> None:
        """The circuit is in ``state`` now; the rates are those that brought it there."""


class Permit(Protocol):
    """Leave to make one call, from ``CircuitBreaker.admit``. Exactly one of the two is called, once."""

    def record(self, *, failed: bool, slow: bool) -> None:
        """The call has ended."""

    def release(self) -> None:
        """The call says nothing about the callee: it was given up."""


class CircuitBreaker:
    """One circuit. Thread-safe. ``now`` tells seconds that never go back; ``watch`` hears of each change."""

    def __init__(
        self,
        rules: Rules | None = None,
        *,
        now: Callable[[], float] = monotonic,
        watch: Watcher | None = None,
    ) -> None:
        self._circuit = _Circuit(rules or Rules(), now, watch)

    @property
    def state(self) -> State:
        """The state now. An open circuit whose time is over is OPEN until somebody calls."""
        return self._circuit.phase.state

    def admit(self) -> Permit | None:
        """Leave to call; None while the circuit is open or its probes are under way."""
        return self._circuit.phase.admit()

    def retry_after_seconds(self) -> float:
        """How long it makes no sense to try again: 0 unless the circuit is open."""
        phase = self._circuit.phase
        return max(phase.until - self._circuit.now(), 0.0) if isinstance(phase, _Open) else 0.0


class _Circuit:
    """What the phases of a circuit share."""

    def __init__(self, rules: Rules, now: Callable[[], float], watch: Watcher | None) -> None:
        self.rules = rules
        self.now = now
        # Re-entrant: a call that nobody holds any more is given up by the garbage collector, anywhere.
        self.lock = threading.RLock()
        self.phase: _Phase = _Closed(self)
        self._watch = watch

    def verdict(self, window: _Window, *, least_calls: int) -> State | None:
        """What the window says: OPEN, CLOSED, or None for too few calls."""
        if window.seen < least_calls:
            return None
        bad = window.failed >= self.rules.failure_rate * window.seen
        slow = window.slow >= self.rules.slow_rate * window.seen
        return State.OPEN if bad or slow else State.CLOSED

    def change(self, phase: _Phase, window: _Window | None = None) -> None:
        """Go over to ``phase``; the lock is held."""
        self.phase = phase
        if self._watch is not None:
            failure_rate, slow_rate = (0.0, 0.0) if window is None else window.rates()
            self._watch(phase.state, failure_rate=failure_rate, slow_rate=slow_rate)


class _Window:
    """How the last calls ended, as a ring. ``failed`` and ``slow`` count those in it."""

    __slots__ = ("_next", "_ring", "failed", "seen", "slow")

    def __init__(self, calls: int) -> None:
        self._ring = [(0, 0)] * calls
        self._next = 0
        self.seen = self.failed = self.slow = 0

    def add(self, failed: bool, slow: bool) -> None:  # noqa: FBT001  # called for every call
        ring, place = self._ring, self._next
        was_failed, was_slow = ring[place]
        ring[place] = failed, slow
        self._next = place + 1 if place + 1 < len(ring) else 0
        self.seen += self.seen < len(ring)
        self.failed += failed - was_failed
        self.slow += slow - was_slow

    def rates(self) -> tuple[float, float]:
        seen = max(self.seen, 1)
        return self.failed / seen, self.slow / seen


class _Closed:
    state = State.CLOSED

    def __init__(self, circuit: _Circuit) -> None:
        self._circuit = circuit
        self._lock = circuit.lock
        self._window = _Window(circuit.rules.calls)
        self._least = min(circuit.rules.least_calls, circuit.rules.calls)

    def admit(self) -> Permit | None:
        return self

    def record(self, *, failed: bool, slow: bool) -> None:
        window, circuit = self._window, self._circuit
        with self._lock:
            window.add(failed, slow)
            if not (window.failed or window.slow) or circuit.phase is not self:
                return
            if circuit.verdict(window, least_calls=self._least) is State.OPEN:
                circuit.change(_Open(circuit), window)

    def release(self) -> None:
        """Nothing was taken."""


class _Open:
    state = State.OPEN

    def __init__(self, circuit: _Circuit) -> None:
        self._circuit = circuit
        self.until = circuit.now() + circuit.rules.open_seconds

    def admit(self) -> Permit | None:
        circuit = self._circuit
        if circuit.now() < self.until:
            return None
        with circuit.lock:
            if circuit.phase is self:
                circuit.change(_HalfOpen(circuit))
            return circuit.phase.admit()


class _HalfOpen:
    state = State.HALF_OPEN

    def __init__(self, circuit: _Circuit) -> None:
        self._circuit = circuit
        self._probes = circuit.rules.probes
        self._left = self._probes
        self._window = _Window(self._probes)
        self._until = circuit.now() + circuit.rules.open_seconds

    def admit(self) -> Permit | None:
        circuit = self._circuit
        with circuit.lock:
            if circuit.phase is not self:
                return circuit.phase.admit()
            if self._left == 0 and circuit.now() >= self._until:
                circuit.phase = renewed = _HalfOpen(
                    circuit
                )  # the same state: nobody need hear of it
                return renewed.admit()
            if self._left == 0:
                return None
            self._left -= 1
            return self

    def record(self, *, failed: bool, slow: bool) -> None:
        circuit, window = self._circuit, self._window
        with circuit.lock:
            if circuit.phase is not self:
                return
            window.add(failed, slow)
            verdict = circuit.verdict(window, least_calls=self._probes)
            if verdict is State.OPEN:
                circuit.change(_Open(circuit), window)
            elif verdict is State.CLOSED:
                circuit.change(_Closed(circuit), window)

    def release(self) -> None:
        with self._circuit.lock:
            self._left += 1


_Phase: TypeAlias = _Closed | _HalfOpen | _Open
