"""A channel that finds out who breaks the promise of ``share``."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message

from portico.rpc.local import LocalChannel
from portico.rpc.transfer import Transfer

if TYPE_CHECKING:
    from portico.rpc.interfaces import Deserializer, Serializer
    from portico.rpc.policy import Policy
    from portico.rpc.registry import Endpoint, Registry

_REMEMBERED = 1000


class SharedMessageChangedError(AssertionError):
    """A message was changed after it was handed over; it says which."""


class WatchedChannel(LocalChannel):
    """A ``LocalChannel`` with ``share`` that fails when either side changes a message it has shared.

    It looks at the next message that crosses and at ``close``: a call made after the change raises
    ``SharedMessageChangedError``, and so does ``close``. The last thousand messages are watched.
    """

    def __init__(
        self,
        registry: Registry | None = None,
        *,
        policy: Policy | None = None,
        caller: str = "",
    ) -> None:
        super().__init__(registry, policy=policy, caller=caller, share=True)
        self._watched: deque[tuple[Message, bytes, str]] = deque(maxlen=_REMEMBERED)
        self._lock = threading.Lock()

    def verify(self) -> None:
        """Raise ``SharedMessageChangedError`` when a message is not as it was handed over."""
        with self._lock:
            watched = tuple(self._watched)
        for message, content, what in watched:
            if _content(message) != content:
                raise SharedMessageChangedError(f"{what} was changed after it was handed over")

    def close(self) -> None:
        """Close the channel, and look once more."""
        super().close()
        self.verify()

    def transfers(
        self, endpoint: Endpoint, serializer: Serializer, deserializer: Deserializer
    ) -> tuple[Transfer, Transfer]:
        """How requests and responses cross: under watch."""
        request, response = super().transfers(endpoint, serializer, deserializer)
        path = endpoint.method.path
        return (
            self._watching(request, f"a request of {path}"),
            self._watching(response, f"a response of {path}"),
        )

    def _watching(self, transfer: Transfer, what: str) -> Transfer:
        def moved(message: Any) -> Any:
            received = transfer.moved(message)
            self.verify()
            if received is message and isinstance(message, Message):
                with self._lock:
                    self._watched.append((message, _content(message), what))
            return received

        return Transfer(object, moved)  # no message is exactly an object: all of them are moved


def _content(message: Message) -> bytes:
    return message.SerializePartialToString(deterministic=True)
