"""The call in progress: who asks, for whom, until when.

A :class:`Call` is what a servicer gets as its ``context``. It is a ``grpc.ServicerContext``, so code
written for plain grpcio works with it unchanged; it adds the caller's identity, the request id, the
trace and the link to the call above it.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import getrandbits
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

from portico.rpc.answering import Answering

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.rpc.metadata import Metadata
    from portico.telemetry.otel.span import Span


@dataclass(frozen=True, slots=True)
class Identity:
    """The end user a call is made for; ``subject`` is empty when nobody is signed in."""

    subject: str
    roles: frozenset[str] = field(default_factory=frozenset)

    @property
    def signed_in(self) -> bool:
        """Whether there is a user."""
        return bool(self.subject)


ANONYMOUS = Identity("")

_ID_BITS = 128


class Origin:
    """What all calls of one request share, however deep: identity, request id, trace.

    An empty ``request_id`` or ``trace_id`` stands for a new one, 32 hex digits, written out when it
    is first read. ``span_id`` is the caller's in that trace, empty when the trace begins here.
    """

    __slots__ = ("_drawn", "_request_id", "_trace_id", "identity", "span_id")

    def __init__(
        self, identity: Identity, request_id: str = "", trace_id: str = "", span_id: str = ""
    ) -> None:
        self.identity = identity
        self.span_id = span_id
        self._request_id = request_id
        self._trace_id = trace_id
        # Drawn now and not when it is read: two threads must not read different ids.
        self._drawn = 0 if request_id and trace_id else getrandbits(2 * _ID_BITS)

    @staticmethod
    def fresh(identity: Identity = ANONYMOUS) -> Origin:
        """An origin for work that nobody asked for from outside: a script, a timer, a test."""
        return Origin(identity)

    @property
    def request_id(self) -> str:
        """The id that names the whole request in logs and answers."""
        return self._request_id or f"{self._drawn >> _ID_BITS:032x}"

    @property
    def trace_id(self) -> str:
        """32 hex digits, never all zero, as in W3C Trace Context."""
        return self._trace_id or f"{self._drawn % (1 << _ID_BITS) or 1:032x}"


@dataclass(frozen=True, slots=True)
class StepMark:
    """Set on calls made inside a workflow step: the module whose workflow it is, and the step's key.

    ``trying``: the step deals itself with a refusal of what it calls.
    """

    module: str
    key: str
    trying: bool = False


class Ongoing(Protocol):
    """A call that runs in a thread of its own and can be given up from outside."""

    def cancel_from_above(self) -> None:
        """The call that made this one was cancelled."""


class Line:
    """The calls of one thread, from the first to the innermost: what a cancellation reaches."""

    __slots__ = ("cancelled", "innermost", "under_way")

    def __init__(self) -> None:
        self.innermost: Call | None = None
        """The call whose servicer runs now."""
        self.cancelled = False
        self.under_way: WeakSet[Ongoing] | None = None
        """Calls made from here that run in threads, or processes, of their own."""

    def cancel(self) -> None:
        """Nobody waits for this line any more: nor for what it has under way."""
        self.cancelled = True
        for each in tuple(self.under_way or ()):
            each.cancel_from_above()

    def has_under_way(self, call: Ongoing) -> None:
        """Cancel ``call`` with this line: now, if that has happened already."""
        if self.under_way is None:
            self.under_way = WeakSet()
        self.under_way.add(call)
        if self.cancelled:
            call.cancel_from_above()


class Call(Answering):
    """One call to a servicer, in the process or from the network.

    ``deadline`` is in seconds of ``time.monotonic()``, or None. ``caller`` is the module that calls,
    empty for a call from outside. ``transaction`` belongs to ``portico.data``, ``step`` to
    ``portico.workflow``. ``line``, ``unverified`` and ``span`` are the kernel's: the calls of this
    thread, an ``authorization`` header until it is verified, and where in a trace the call is at the
    moment, if somebody traces.
    """

    unverified = ""
    span: Span | None = None

    def __init__(
        self,
        parent: Call | None,
        origin: Origin,
        method: str,
        module: str,
        caller: str,
        deadline: float | None,
        metadata: Metadata,
    ) -> None:
        self.parent = parent
        self.origin = origin
        self.method = method
        self.module = module
        self.caller = caller
        self.deadline = deadline
        self.step: StepMark | None
        self.transaction: Any
        if parent is None:
            self.line, self.step, self.transaction = Line(), None, None
        else:
            self.line = parent.line
            self.step = parent.step
            self.transaction = parent.transaction
        self._metadata = metadata
        # Here and not only on the class, for what every call is asked: an instance's own attribute is
        # read faster.
        self.cancelled = self.unusual = False

    @property
    def identity(self) -> Identity:
        """The end user this call is made for."""
        return self.origin.identity

    @property
    def request_id(self) -> str:
        """The id that names the whole request in logs and answers."""
        return self.origin.request_id

    @property
    def trace_id(self) -> str:
        """32 hex digits, as in W3C Trace Context."""
        return self.origin.trace_id

    def invocation_metadata(self) -> Metadata:
        """The metadata the caller sent."""
        return self._metadata

    def peer(self) -> str:
        """Where the call came from: ``inproc:`` and the calling module."""
        return f"inproc:{self.caller}"

    def is_active(self) -> bool:
        """Whether anyone still waits for the answer."""
        if self.over or self.cancelled or self.line.cancelled:
            return False
        return self.deadline is None or time.monotonic() < self.deadline

    def time_remaining(self) -> float | None:
        """Seconds until the deadline, never negative; None without one."""
        return None if self.deadline is None else max(self.deadline - time.monotonic(), 0.0)

    def cancel(self) -> bool:
        """Give the call up, and those that it has under way: its caller gets CANCELLED."""
        super().cancel()
        if self.parent is None or self.parent.line is not self.line:
            self.line.cancel()
        return True


class _Here(threading.local):
    line: Line | None = None


here = _Here()
"""What this thread is about: ``here.line`` is the kernel's to set."""


def current() -> Call:
    """The innermost call of this thread; outside any call, a fresh one without identity or deadline."""
    call = current_or_none()
    return call if call is not None else root()


def current_or_none() -> Call | None:
    """The innermost call of this thread, if there is one."""
    line = here.line
    return None if line is None else line.innermost


def root(
    *, module: str = "", identity: Identity = ANONYMOUS, deadline: float | None = None
) -> Call:
    """A call that nobody made: the top of the tree for a script, a worker or a test."""
    return Call(None, Origin(identity), "", module, "", deadline, ())


@contextmanager
def entered(call: Call) -> Iterator[Call]:
    """Make ``call`` the current one of this thread for the block."""
    outer, line = here.line, call.line
    above = line.innermost
    here.line, line.innermost = line, call
    try:
        yield call
    finally:
        here.line, line.innermost = outer, above
