"""What came of calls, as plain data, and what differs between the transports they went over.

The kernel's promise is that a stub cannot tell a local channel from a socket. A script is a function
that calls through a channel and returns what it saw; it runs over every transport, and the outcomes
are compared field by field.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc

from portico.rpc.status import from_rpc_error
from portico.testing.transports import YARDSTICKS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_ERROR_ID = re.compile(r"\b[0-9a-f]{16}\b")
_OF_THE_TRANSPORT = (
    "user-agent",
    "accept-encoding",
    "grpc-",
    "traceparent",
    "x-request-id",
    "x-portico-",
)
_DETAILS_KEY = "grpc-status-details-bin"


class Difference(NamedTuple):
    """One field of one outcome that is not what it should be."""

    transport: str
    path: str
    value: Any
    expected: Any

    def __str__(self) -> str:
        where = f"{self.transport} {self.path}".strip()
        return f"{where}: {self.value!r}, should be {self.expected!r}"


class _Nothing:
    def __repr__(self) -> str:
        return "(nothing)"


_NOTHING = _Nothing()


def differences(
    found: Mapping[Any, Any], *, expects: Mapping[str, Any] | None = None
) -> list[Difference]:
    """Every field of an outcome that is not as over the yardstick, or not as ``expects`` has it.

    The yardstick is plain grpcio; where it did not run, a client of grpcio's; without both, what
    most transports say. ``expects`` has values by path, such as ``call.trailing[0]``; an empty path
    is the whole outcome.
    """
    fields = {transport: dict(_fields("", outcome)) for transport, outcome in found.items()}
    norm = fields[_yardstick(found)]
    lines = []
    for transport, each in fields.items():
        should = norm | {path: value for path, value in (expects or {}).items() if path}
        if expects and "" in expects:
            should = dict(_fields("", expects[""]))
        lines += [
            Difference(transport, path, each.get(path, _NOTHING), should.get(path, _NOTHING))
            for path in dict.fromkeys((*should, *each))
            if repr(each.get(path, _NOTHING)) != repr(should.get(path, _NOTHING))
        ]
    return lines


def _yardstick(found: Mapping[Any, Any]) -> Any:
    for name in YARDSTICKS:
        if name in found:
            return name
    most = Counter(map(repr, found.values())).most_common(1)[0][0]
    return next(name for name, outcome in found.items() if repr(outcome) == most)


def told(act: Callable[[], Any]) -> dict[str, Any]:
    """What came of ``act``: its value, or all that a caller can read from what it raised."""
    try:
        return {"value": act()}
    except grpc.RpcError as error:
        return failure(error)
    except Exception as error:  # noqa: BLE001  # whatever a channel raises is what is compared
        return {"raised": type(error).__name__}


def failure(error: grpc.RpcError) -> dict[str, Any]:
    """A failed call's content, without what is different each time."""
    read = from_rpc_error(error)
    return {
        "code": read.code().name,
        "details": _steady(read.details()),
        "reason": read.reason,
        "domain": read.domain,
        "metadata": {key: _steady(value) for key, value in read.metadata.items()},
        "violations": [tuple(each) for each in read.violations],
        "initial": metadata(read.initial_metadata()),
        "trailing": metadata(read.trailing_metadata()),
    }


def ended(call: Any) -> dict[str, Any]:
    """What a finished call tells; waits for its end."""
    return {
        "code": call.code().name,
        "details": _steady(call.details()),
        "initial": metadata(call.initial_metadata()),
        "trailing": metadata(call.trailing_metadata()),
        "active": call.is_active(),
        "done": call.done(),
        "running": call.running(),
        "cancelled": call.cancelled(),
    }


def metadata(pairs: Iterable[tuple[str, str | bytes]] | None) -> list[tuple[str, str | bytes]]:
    """The pairs without those that a transport adds for itself."""
    return [
        (key, _steady_details(value) if key == _DETAILS_KEY else value)
        for key, value in pairs or ()
        if key == _DETAILS_KEY or not key.startswith(_OF_THE_TRANSPORT)
    ]


def _steady(text: str | None) -> str:
    """A message without error ids, and grpcio's several ways to say that time is up as one."""
    if text and "Deadline Exceeded" in text:
        return "Deadline Exceeded"
    return _ERROR_ID.sub("<id>", text or "")


def _steady_details(value: str | bytes) -> str | bytes:
    return _ERROR_ID.sub("<id>", value.decode("latin-1")) if isinstance(value, bytes) else value


def _fields(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _fields(f"{path}.{key}" if path else str(key), inner)
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from _fields(f"{path}[{index}]", inner)
    else:
        yield path, value
