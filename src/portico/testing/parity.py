"""One script over several channels, and what differs between its outcomes.

The kernel's promise is that a stub cannot tell a local channel from a socket. A script here is a
function that calls through a channel and returns what it saw as plain data; it runs over every
transport, each with servicers of its own, and the outcomes are compared field by field.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import grpc

from portico.rpc.local import LocalChannel
from portico.rpc.policy import Policy
from portico.rpc.registry import Registry
from portico.rpc.remote import RemoteChannel
from portico.rpc.server import Server
from portico.rpc.status import from_rpc_error
from portico.testing.sharing import WatchedChannel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    Populate: TypeAlias = Callable[[Any], None]
    Script: TypeAlias = Callable[[grpc.Channel], Any]

Transport = Literal["plain", "raw", "remote", "local", "shared"]
"""``plain`` is grpcio on both sides, ``raw`` a grpcio client of the kernel's server, ``remote`` the
kernel on both sides of a socket; ``local`` copies messages and ``shared`` does not."""

EVERY: tuple[Transport, ...] = get_args(Transport)
KERNEL = EVERY[1:]
"""All but ``plain``: for what the kernel adds to grpcio."""

_THREADS = 16
_MODULE = "parity"
_ERROR_ID = re.compile(r"\b[0-9a-f]{16}\b")
_OF_THE_TRANSPORT = ("user-agent", "accept-encoding", "grpc-", "traceparent", "x-request-id")
_DETAILS_KEY = "grpc-status-details-bin"


def outcomes(
    populate: Populate,
    script: Script,
    *,
    over: Iterable[Transport] = EVERY,
    policy: Policy | None = None,
) -> dict[Transport, Any]:
    """What ``script`` returns over each transport.

    ``populate`` adds servicers to what it is given, with the generated ``add_…_to_server``; it is
    called once for each transport. Over ``shared``, a message that somebody changes after it was
    handed over is an error (``portico.testing.sharing``).
    """
    found = {}
    for transport in over:
        with opened(transport, populate, policy=policy or Policy()) as channel:
            found[transport] = script(channel)
    return found


def differences(found: Mapping[Transport, Any]) -> list[str]:
    """One line for each field that is not the same over all transports."""
    fields = {transport: dict(_fields("", outcome)) for transport, outcome in found.items()}
    paths = dict.fromkeys(path for each in fields.values() for path in each)
    lines = []
    for path in paths:
        values = {transport: each.get(path, "(nothing)") for transport, each in fields.items()}
        if len(set(map(repr, values.values()))) > 1:
            lines.append(
                f"{path}: " + ", ".join(f"{name} {value!r}" for name, value in values.items())
            )
    return lines


@contextmanager
def opened(transport: Transport, populate: Populate, *, policy: Policy) -> Iterator[grpc.Channel]:
    """A channel of that kind to servicers of its own."""
    if transport == "plain":
        with _plain(populate) as address, grpc.insecure_channel(address) as channel:
            yield channel
        return
    registry = Registry()
    populate(registry.registrar(_MODULE))
    if transport in {"local", "shared"}:
        kind = WatchedChannel if transport == "shared" else LocalChannel
        with kind(registry, policy=policy) as channel:
            yield channel
        return
    with _served(registry, policy) as address, grpc.insecure_channel(address) as channel:
        yield channel if transport == "raw" else RemoteChannel(channel)


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


@contextmanager
def _plain(populate: Populate) -> Iterator[str]:
    with ThreadPoolExecutor(_THREADS) as pool:
        server = grpc.server(pool)
        populate(server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(0).wait()


@contextmanager
def _served(registry: Registry, policy: Policy) -> Iterator[str]:
    server = Server(threads=_THREADS)
    server.bind()
    server.mount(registry, policy)
    server.start()
    try:
        yield server.address
    finally:
        server.stop(0)


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
