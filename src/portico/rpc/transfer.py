"""How one message crosses from one side of a local call to the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from portico.errors import StatusError

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    Transfer = Callable[[Any], Any]


def compile_transfer(
    message_class: type[Message] | None,
    serialize: Callable[[Any], bytes] | None,
    deserialize: Callable[[bytes], Any] | None,
    *,
    share: bool,
    what: str,
) -> Transfer:
    """A function from the sender's message to the receiver's.

    When both sides speak of the same generated class the message is copied, or handed over as it is
    with ``share``. Otherwise it goes through the two sides' own serializers, as over a wire. A
    message of the wrong type is INTERNAL, as grpcio tells it.
    """
    if message_class is None or getattr(deserialize, "__self__", None) is not message_class:
        return _through_bytes(serialize, deserialize, what)

    def wrong() -> StatusError:
        return StatusError(grpc.StatusCode.INTERNAL, f"Exception serializing {what}!")

    def copied(message: Any) -> Any:
        if type(message) is not message_class:
            raise wrong()
        twin = message_class()
        twin.CopyFrom(message)
        return twin

    def shared(message: Any) -> Any:
        if type(message) is not message_class:
            raise wrong()
        return message

    return shared if share else copied


def _through_bytes(
    serialize: Callable[[Any], bytes] | None, deserialize: Callable[[bytes], Any] | None, what: str
) -> Transfer:
    def transfer(message: Any) -> Any:
        try:
            data = message if serialize is None else serialize(message)
        except Exception:  # noqa: BLE001  # as grpcio: whatever a serializer raises
            raise StatusError(
                grpc.StatusCode.INTERNAL, f"Exception serializing {what}!"
            ) from None
        try:
            return data if deserialize is None else deserialize(data)
        except Exception:  # noqa: BLE001  # as grpcio: whatever a deserializer raises
            raise StatusError(
                grpc.StatusCode.INTERNAL, f"Exception deserializing {what}!"
            ) from None

    return transfer
