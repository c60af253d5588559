"""The part of a servicer's context that belongs to its answer: headers, trailers, status."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NoReturn

import grpc

from portico.rpc.metadata import checked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from portico.rpc.metadata import Metadata

_OK = grpc.StatusCode.OK

# Re-entrant: a call that nobody holds any more is cancelled by the garbage collector, anywhere.
_callbacks_lock = threading.RLock()


class Aborted(Exception):  # noqa: N818  # not an error of its own: it unwinds to the pipeline
    """Raised by ``abort``; the status is on the call."""


class Answering(grpc.ServicerContext):
    """A ``grpc.ServicerContext`` inside a process, as far as the caller does not matter.

    Where a method says nothing else it does what grpcio's own context does, down to the sentences
    of its errors. The attributes without an underscore are for the kernel.
    """

    # Defaults live on the class: a call pays only for what it uses.
    over = False
    """Whether the call has ended."""
    cancelled = False
    """Whether either side gave the call up."""
    marked = False
    """Whether the servicer has said that the call does not end well."""
    unusual = False
    """Whether the end needs a closer look: the call is marked, or somebody wants to hear of its end."""
    on_headers: Callable[[], None] | None = None
    """Told when headers are sent."""

    _callbacks: list[Callable[[], None]] | None = None
    _code: grpc.StatusCode | None = None
    _details: str | None = None
    _headers: Metadata | None = None
    _trailers: Metadata | None = None

    # grpc.RpcContext

    def is_active(self) -> bool:
        """Whether anyone still waits for the answer."""
        return not (self.over or self.cancelled)

    def cancel(self) -> bool:
        """Give the call up: its caller gets CANCELLED."""
        self.cancelled = self.marked = self.unusual = True
        self._run_callbacks()
        return True

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Have ``callback`` called when the call ends; False when it has ended already."""
        with _callbacks_lock:
            if self.over or self.cancelled:
                return False
            if self._callbacks is None:
                self._callbacks = []
            self._callbacks.append(callback)
            self.unusual = True
            return True

    # grpc.ServicerContext

    def peer_identities(self) -> Sequence[bytes] | None:
        """None: the process trusts itself."""
        return None

    def peer_identity_key(self) -> str | None:
        """None: the process trusts itself."""
        return None

    def auth_context(self) -> Mapping[str, bytes]:
        """Empty: no transport security inside a process."""
        return {}

    def set_compression(self, compression: grpc.Compression) -> None:
        """Nothing to compress inside a process."""

    def disable_next_message_compression(self) -> None:
        """Nothing to compress inside a process."""

    def send_initial_metadata(self, initial_metadata: Metadata) -> None:
        """Send the headers of the answer; ValueError when they or a message have been sent."""
        if self.cancelled:
            raise grpc.RpcError  # nobody is left to send to
        if self._headers is not None:
            raise ValueError("Initial metadata no longer allowed!")
        self._headers = checked(initial_metadata or ())
        if self.on_headers is not None:
            self.on_headers()

    def set_trailing_metadata(self, trailing_metadata: Metadata) -> None:
        """Set the trailers of the answer."""
        self._trailers = checked(trailing_metadata or ())

    def trailing_metadata(self) -> Any:
        """The trailers set so far; None before that, as in grpcio."""
        return self._trailers

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        """End the call with a status that is not OK."""
        if code is _OK:  # as grpcio: aborting with OK is a mistake, told as UNKNOWN
            code, details = grpc.StatusCode.UNKNOWN, ""
        self.set_code(code)
        self.set_details(details)
        raise Aborted(details)

    def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """End the call with a whole status, trailers included."""
        self.set_trailing_metadata(status.trailing_metadata)
        self.abort(status.code, status.details)

    def set_code(self, code: grpc.StatusCode) -> None:
        """Set the code the call ends with when the servicer returns."""
        self._code = code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.UNKNOWN
        self.marked = self.cancelled or self._code is not _OK
        self.unusual = True

    def set_details(self, details: str | bytes) -> None:
        """Set the message the call ends with, if it does not end well."""
        self._details = details.decode(errors="replace") if isinstance(details, bytes) else details

    def code(self) -> grpc.StatusCode | None:
        """The code set so far."""
        return self._code

    def details(self) -> str | None:
        """The message set so far."""
        return self._details

    # For the kernel

    def sent_headers(self) -> Metadata:
        """The headers of the answer."""
        return self._headers or ()

    def no_more_headers(self) -> None:
        """A message is on its way, and headers go before it."""
        if self._headers is None:
            self._headers = ()

    def finish(self) -> None:
        """The call is over: nobody is waiting any more."""
        self.over = True
        self._run_callbacks()

    def _run_callbacks(self) -> None:
        with _callbacks_lock:
            callbacks, self._callbacks = self._callbacks, None
        call_all(callbacks or ())


def call_all(callbacks: Iterable[Callable[[], object]]) -> None:
    """Call each of them; as in grpcio, what one raises fails neither the call nor the others."""
    for callback in callbacks:
        try:
            callback()
        except Exception:  # noqa: BLE001  # see above
            from portico.telemetry import logs  # which asks for the current call

            logs.logger("portico.rpc").exception("callback_failed")
