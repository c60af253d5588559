"""The one error that crosses a module's border.

A servicer raises a :class:`StatusError`; its caller catches a ``StatusError`` with the same content,
whether the call stayed in the process or crossed a network. It is a ``grpc.RpcError`` too, so code
written for plain grpcio reads it with ``code()``, ``details()`` and ``trailing_metadata()``.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol

import grpc

from portico.rpc import status
from portico.rpc.interfaces import RpcFailure
from portico.rpc.metadata import Metadatum

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from portico.rpc.metadata import Metadata


class Violation(NamedTuple):
    """One thing wrong with one field of a request.

    ``field`` is a path in the contract's names (``items[0].quantity``), ``reason`` a stable
    identifier of the broken rule (``int32.gt``) or empty.
    """

    field: str
    description: str
    reason: str = ""


class StatusError(RpcFailure):
    """A call that did not succeed: a gRPC status with a typed reason.

    ``reason`` is a value of the contract's ``ErrorReason`` enum, ``domain`` the contract that
    declares it, ``metadata`` the facts a program may act on, ``violations`` the faulty fields.
    ``reason`` is empty for a plain status, such as one set with ``context.abort``. ``initial`` and
    ``trailing`` are the headers and trailers that came with it.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        *,
        reason: str = "",
        domain: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Iterable[Violation] = (),
        initial: Metadata = (),
        trailing: Metadata = (),
    ) -> None:
        super().__init__(message)
        self._code = code
        self.message = message
        self.reason = reason
        self.domain = domain
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self._initial = initial
        self._trailing = trailing

    def code(self) -> grpc.StatusCode:
        """The gRPC status code."""
        return self._code

    def details(self) -> str:
        """The message for a person; programs read ``reason``."""
        return self.message

    def initial_metadata(self) -> Metadata:
        """What the servicer sent before it failed."""
        return self._initial

    def trailing_metadata(self) -> Metadata:
        """The servicer's trailers, with ``grpc-status-details-bin`` when there is a typed reason."""
        if any(key == status.DETAILS_KEY for key, _ in self._trailing):
            return self._trailing
        details = status.details_bin(self)
        if details is None:
            return self._trailing
        return (*self._trailing, Metadatum(status.DETAILS_KEY, details))

    def debug_error_string(self) -> str:
        """One line with everything, as grpcio's errors have."""
        return repr(self)

    def copy(self) -> StatusError:
        """The same content in a new exception: a raised one carries its traceback with it."""
        return _restored(self._code, self.message, self.__dict__)

    def passed_on(self, *, domain: str, initial: Metadata, trailing: Metadata) -> StatusError:
        """The error as the caller of the servicer that raised it gets it.

        It has that servicer's headers and trailers; those it came with itself stay behind, but for
        details of kinds that this class has no room for. ``domain`` is for a reason without one.
        """
        details = tuple(pair for pair in self._trailing if pair[0] == status.DETAILS_KEY)
        return StatusError(
            self._code,
            self.message,
            reason=self.reason,
            domain=domain if self.reason and not (self.domain or details) else self.domain,
            metadata=self.metadata,
            violations=self.violations,
            initial=initial,
            trailing=(*trailing, *details),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self._code, self.message, self.__dict__)

    def __repr__(self) -> str:
        parts = [self._code.name, *([self.reason] if self.reason else []), repr(self.message)]
        if self.metadata:
            parts.append(repr(self.metadata))
        parts.extend(f"{field}: {description}" for field, description, _ in self.violations)
        return f"<StatusError {' '.join(parts)}>"

    __str__ = __repr__

    # A finished call, so that client interceptors can hand the error on as the call's outcome.

    def is_active(self) -> bool:
        """False: the call is over."""
        return False

    def time_remaining(self) -> float | None:
        """None: the call is over."""
        return None

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """False: the call is over and the callback will not be called."""
        return False

    def cancel(self) -> bool:
        """False: the call is over."""
        return False

    def cancelled(self) -> bool:
        """False: nobody cancels a call that is over."""
        return False

    def running(self) -> bool:
        """False: the call is over."""
        return False

    def done(self) -> bool:
        """True: the call is over."""
        return True

    def result(self, timeout: float | None = None) -> NoReturn:
        """Raise this error."""
        raise self

    def exception(self, timeout: float | None = None) -> StatusError:
        """The error itself."""
        return self

    def traceback(self, timeout: float | None = None) -> TracebackType | None:
        """Where the error was raised: here, if it never was."""
        if self.__traceback__ is None:
            with suppress(StatusError):
                raise self
        return self.__traceback__

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        """Call ``fn`` with this error at once."""
        fn(self)


def _restored(code: grpc.StatusCode, message: str, content: dict[str, Any]) -> StatusError:
    error = StatusError(code, message)
    error.__dict__.update(content)
    return error


class _Constructor(Protocol):
    def __call__(
        self, reason: str, message: str, *, violations: Iterable[Violation] = (), **metadata: object
    ) -> StatusError: ...


def _constructor(code: grpc.StatusCode) -> _Constructor:
    def error(
        reason: str, message: str, *, violations: Iterable[Violation] = (), **metadata: object
    ) -> StatusError:
        facts = {key: str(value) for key, value in metadata.items()}
        return StatusError(code, message, reason=reason, metadata=facts, violations=violations)

    error.__name__ = code.name.lower()
    error.__doc__ = (
        f"A {code.name} with the contract's ``reason``; keyword arguments are its metadata."
    )
    return error


invalid_argument = _constructor(grpc.StatusCode.INVALID_ARGUMENT)
not_found = _constructor(grpc.StatusCode.NOT_FOUND)
already_exists = _constructor(grpc.StatusCode.ALREADY_EXISTS)
permission_denied = _constructor(grpc.StatusCode.PERMISSION_DENIED)
unauthenticated = _constructor(grpc.StatusCode.UNAUTHENTICATED)
failed_precondition = _constructor(grpc.StatusCode.FAILED_PRECONDITION)
aborted = _constructor(grpc.StatusCode.ABORTED)
out_of_range = _constructor(grpc.StatusCode.OUT_OF_RANGE)
resource_exhausted = _constructor(grpc.StatusCode.RESOURCE_EXHAUSTED)
cancelled = _constructor(grpc.StatusCode.CANCELLED)
deadline_exceeded = _constructor(grpc.StatusCode.DEADLINE_EXCEEDED)
unavailable = _constructor(grpc.StatusCode.UNAVAILABLE)
unimplemented = _constructor(grpc.StatusCode.UNIMPLEMENTED)
internal = _constructor(grpc.StatusCode.INTERNAL)
