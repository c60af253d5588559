"""The call in progress: who asks, for whom, until when.

A :class:`Call` is what a servicer gets as its ``context``. It is a ``grpc.ServicerContext``, so code
written for plain grpcio works with it unchanged; it adds the caller's identity, the request id, the
trace and the link to the call above it.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import grpc

from portico.rpc.metadata import named
from portico.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from portico.rpc.metadata import Metadata


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


@dataclass(frozen=True, slots=True)
class Origin:
    """What all calls of one request share, however deep: identity, request id, trace."""

    identity: Identity
    request_id: str
    trace_id: str
    span_id: str = ""

    @staticmethod
    def fresh(identity: Identity = ANONYMOUS) -> Origin:
        """An origin for work that nobody asked for from outside: a script, a timer, a test."""
        return Origin(identity, tracing.new_span_id() + tracing.new_span_id(), tracing.new_trace_id())


@dataclass(frozen=True, slots=True)
class StepMark:
    """Set on calls made inside a workflow step: the module whose workflow it is, and the step's key.

    ``trying``: the step deals itself with a refusal of what it calls.
    """

    module: str
    key: str
    trying: bool = False


class Aborted(Exception):  # noqa: N818  # not an error of its own: it unwinds to the pipeline
    """Raised by ``abort``; the status is on the call."""


class Call(grpc.ServicerContext):
    """One call to a servicer, in the process or from the network.

    ``deadline`` is in seconds of ``time.monotonic()``, or None. ``caller`` is the module that calls,
    empty for a call from outside. ``top`` is the first call of this thread: the one that a
    cancellation reaches. ``transaction`` belongs to ``portico.data``.
    """

    # Defaults live on the class: a call pays only for what it uses.
    step: StepMark | None = None
    transaction: Any = None
    on_headers: Callable[[], None] | None = None
    _code: Any = None
    _details: Any = None
    _initial: Metadata | None = None
    _trailing: Metadata | None = None
    _callbacks: list[Callable[[], None]] | None = None
    _over: bool = False
    _cancelled: bool = False

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
        self.top = self if parent is None else parent.top
        self.origin = origin
        self.method = method
        self.module = module
        self.caller = caller
        self.deadline = deadline
        self._metadata = metadata

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

    # grpc.RpcContext

    def is_active(self) -> bool:
        """Whether anyone still waits for the answer."""
        if self._over or self._cancelled:
            return False
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return False
        return self.parent is None or self.parent.is_active()

    def time_remaining(self) -> float | None:
        """Seconds until the deadline, never negative; None without one."""
        return None if self.deadline is None else max(self.deadline - time.monotonic(), 0.0)

    def cancel(self) -> None:
        """Give the call up: its caller gets CANCELLED."""
        self._cancelled = True
        self._run_callbacks()

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Have ``callback`` called when the call ends; False when it has ended already."""
        with _callbacks_lock:
            if self._over or self._cancelled:
                return False
            if self._callbacks is None:
                self._callbacks = []
            self._callbacks.append(callback)
            return True

    # grpc.ServicerContext

    def invocation_metadata(self) -> Metadata:
        """The metadata the caller sent."""
        return self._metadata

    def peer(self) -> str:
        """Where the call came from: ``inproc:`` and the calling module."""
        return f"inproc:{self.caller}"

    def peer_identities(self) -> Sequence[bytes] | None:
        """None: the process trusts itself."""
        return None

    def peer_identity_key(self) -> str | None:
        """None: the process trusts itself."""
        return None

    def auth_context(self) -> Mapping[str, Sequence[bytes]]:
        """Empty: no transport security inside a process."""
        return {}

    def set_compression(self, compression: grpc.Compression) -> None:
        """Nothing to compress inside a process."""

    def disable_next_message_compression(self) -> None:
        """Nothing to compress inside a process."""

    def send_initial_metadata(self, initial_metadata: Metadata) -> None:
        """Set the headers of the answer; once, and before the first message."""
        if self._initial is not None:
            raise ValueError("Initial metadata no longer allowed!")
        self._initial = named(initial_metadata)
        if self.on_headers is not None:
            self.on_headers()

    def set_trailing_metadata(self, trailing_metadata: Metadata) -> None:
        """Set the trailers of the answer."""
        self._trailing = named(trailing_metadata)

    def trailing_metadata(self) -> Metadata | None:
        """The trailers set so far."""
        return self._trailing

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        """End the call with a status that is not OK."""
        if code is grpc.StatusCode.OK:  # as grpcio: aborting with OK is a mistake, told as UNKNOWN
            code, details = grpc.StatusCode.UNKNOWN, ""
        self._code = code
        self._details = details
        raise Aborted(details)

    def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """End the call with a whole status, trailers included."""
        self._trailing = status.trailing_metadata
        self.abort(status.code, status.details)

    def set_code(self, code: grpc.StatusCode) -> None:
        """Set the code the call ends with when the servicer returns."""
        self._code = code

    def set_details(self, details: str) -> None:
        """Set the message the call ends with when the servicer returns."""
        self._details = details

    def code(self) -> grpc.StatusCode | None:
        """The code set so far."""
        return self._code  # type: ignore[no-any-return]

    def details(self) -> str | None:
        """The message set so far."""
        return self._details  # type: ignore[no-any-return]

    # For the kernel

    def given_up(self) -> bool:
        """Whether this call or one above it was cancelled."""
        top = self.top
        return self._cancelled or top._cancelled or (top.parent is not None and top.parent.given_up())

    def sent_initial_metadata(self) -> Metadata:
        """The headers of the answer."""
        return self._initial or ()

    def finish(self) -> None:
        """The call is over: nobody is waiting any more."""
        self._over = True
        if self._callbacks is not None:
            self._run_callbacks()

    def _run_callbacks(self) -> None:
        with _callbacks_lock:
            callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            callback()


_callbacks_lock = threading.Lock()
_current: ContextVar[Call] = ContextVar("portico.call")


def current() -> Call:
    """The innermost call in progress here; outside any call, a fresh one without identity or deadline."""
    call = _current.get(None)
    return call if call is not None else root()


def current_or_none() -> Call | None:
    """The innermost call in progress here, if there is one."""
    return _current.get(None)


def root(*, module: str = "", identity: Identity = ANONYMOUS, deadline: float | None = None) -> Call:
    """A call that nobody made: the top of the tree for a script, a worker or a test."""
    return Call(None, Origin.fresh(identity), "", module, "", deadline, ())


@contextmanager
def entered(call: Call) -> Iterator[Call]:
    """Make ``call`` the current one for the block."""
    token = _current.set(call)
    try:
        yield call
    finally:
        _current.reset(token)


def serve(call: Call, behaviour: Callable[[Any, Call], Any], request: Any) -> Any:
    """Call a servicer's ``behaviour`` with ``call`` as the current one; the body of a fresh ``Context``."""
    _current.set(call)
    return behaviour(request, call)
