"""A call that was over when its caller got hold of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.errors import StatusError
    from portico.rpc.metadata import Metadata


class Ended:
    """In the place of an ``Exchange``: for ``with_call``, and for a call that never began."""

    done = True
    cancelled = False

    def __init__(
        self,
        *,
        response: Any = None,
        error: StatusError | None = None,
        headers: Metadata = (),
        trailers: Metadata = (),
    ) -> None:
        self.error = error
        self._response = response
        self._headers = headers
        self._trailers = trailers

    def take(self) -> Any:
        """Nothing to take: the call's error, or StopIteration."""
        if self.error is not None:
            raise self.error.copy()
        raise StopIteration

    def response(self) -> Any:
        """The response, if the call succeeded."""
        return self._response

    def headers(self) -> Metadata:
        """The servicer's headers."""
        return self._headers

    def trailers(self) -> Metadata:
        """The servicer's trailers."""
        return self._trailers if self.error is None else self.error.trailing_metadata()

    def time_remaining(self) -> float | None:
        """None: the call is over."""
        return None

    def wait_for_end(self, timeout: float | None = None) -> bool:
        """True: the call is over."""
        return True

    def has_ended(self) -> bool:
        """True: the call is over."""
        return True

    def at_end(self, callback: Callable[[], None]) -> bool:
        """False: the call is over."""
        return False

    def cancel(self, details: str, *, by_caller: bool = False) -> bool:
        """False: the call is over."""
        return False
