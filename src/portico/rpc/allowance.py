"""How long a call to another process may take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import monotonic

import grpc

from portico.errors import StatusError
from portico.rpc.policy import FOREVER_SECONDS
from portico.rpc.remote_rpc import TIME_IS_UP

_MOST_OF_WHAT_IS_LEFT = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """The time that the calls over one edge get.

    ``default_seconds`` bounds a call that nothing else bounds, ``most_seconds`` every call. A call made
    inside another gets what is left of that one's time but for ``margin_seconds``, at most a tenth of it,
    in which the caller can still say that the time was up.
    """

    default_seconds: float | None = None
    most_seconds: float | None = None
    margin_seconds: float = 0.0

    def of_streams(self) -> Allowance:
        """The same edge for calls that may go on for ever: only the call above bounds them."""
        return replace(self, default_seconds=None, most_seconds=None)

    def seconds(self, timeout: float | None, deadline: float | None) -> float | None:
        """The timeout of a call made now: asked for with ``timeout``, inside one that ends at ``deadline``.

        None is no end. DEADLINE_EXCEEDED when there is no time left.
        """
        left = None if deadline is None else self._to_hand_on(deadline - monotonic())
        default = self.default_seconds if timeout is None and left is None else None
        bounds = (timeout, left, default, self.most_seconds)
        chosen = min((each for each in bounds if each is not None), default=None)
        if chosen is not None and chosen <= 0:  # grpcio would try, and with luck come through
            raise StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, TIME_IS_UP)
        return None if chosen is None or chosen >= FOREVER_SECONDS else chosen

    def _to_hand_on(self, left: float) -> float:
        return left - max(min(self.margin_seconds, left * _MOST_OF_WHAT_IS_LEFT), 0.0)
