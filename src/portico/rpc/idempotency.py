"""The idempotency key of a request: a header that names it, for contracts that ask for a ``request_id``.

Source: draft-ietf-httpapi-idempotency-key-header; https://google.aip.dev/155.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor

from portico.errors import Violation, invalid_argument

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

    from portico.context import Call

KEY = "idempotency-key"

_VISIBLE = re.compile(r"[\x21-\x7e]{1,128}")


def takes_key(descriptor: Descriptor) -> bool:
    """Whether a request of this type has a ``request_id`` for the key to fill."""
    field = descriptor.fields_by_name.get("request_id")
    return field is not None and field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated


def fill_request_id(message: Any, key: str) -> None:
    """Let ``key`` name the request: it fills the message's ``request_id`` if that is empty.

    INVALID_ARGUMENT when both are there and differ, and for a key that is not 1 to 128 visible
    ASCII characters.
    """
    if not _VISIBLE.fullmatch(key):
        raise invalid_argument(
            "INVALID_IDEMPOTENCY_KEY", "Idempotency-Key must be 1 to 128 visible ASCII characters"
        )
    given = message.request_id
    if not given:
        message.request_id = key
    elif given != key:
        raise invalid_argument(
            "IDEMPOTENCY_KEY_DIFFERS",
            "request_id: differs from the header Idempotency-Key",
            violations=[Violation("request_id", "differs from the header Idempotency-Key")],
        )


def named_by_key(request: Any, call: Call) -> Any:
    """The request, named by the call's ``idempotency-key`` metadata if there is one.

    The caller's message stays as it is: it may be shared.
    """
    key = next((value for name, value in call.invocation_metadata() if name == KEY), None)
    if key is None:
        return request
    twin = type(request)()
    twin.CopyFrom(request)
    fill_request_id(twin, str(key))
    return twin
