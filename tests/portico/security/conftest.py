"""Processes that call one another, with and without TLS."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Protocol

import grpc
import pytest

from portico.clock import SystemClock
from portico.rpc.departure import Sender
from portico.rpc.remote import RemoteChannel
from portico.security.passport import Passports
from portico.telemetry import logs
from tests.portico.security.callee import SECRET, SERVICE, Callee, tell


class Serve(Protocol):
    def __call__(self, **options: Any) -> Callee: ...


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:

        def serve(**options: Any) -> Callee:
            callee = Callee(**options)
            stack.callback(callee.stop, 0)
            return callee

        yield serve


Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def ask() -> Iterator[Ask]:
    """Calls ``method`` at an address as module ``caller`` and returns what the callee was told."""
    with ExitStack() as stack:

        def ask(
            address: str,
            method: str = "Tell",
            *,
            caller: str = "orders",
            passports: Passports | None = None,
            metadata: Any = None,
            tls: grpc.ChannelCredentials | None = None,
            needs_workflow: bool = False,
            future: bool = False,
        ) -> dict[str, Any]:
            named = (("grpc.ssl_target_name_override", "payments"),)
            channel = (
                grpc.insecure_channel(address)
                if tls is None
                else grpc.secure_channel(address, tls, named)
            )
            path = method if "/" in method else f"/{SERVICE}/{method}"
            sender = Sender(
                caller=caller,
                passports=passports or Passports(SECRET, clock=SystemClock()),
                commands_need_workflow=needs_workflow,
            )
            remote = stack.enter_context(RemoteChannel(channel, sender=sender))
            return tell(remote, path, metadata, future=future)

        yield ask


@pytest.fixture
def quiet() -> Iterator[None]:
    """Errors that are provoked go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    logs.configure(level="error", descriptor=nowhere)
    yield
    logs.configure(level="warning")
    os.close(nowhere)


@pytest.fixture
def logged(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """The lines of the log since the test began."""
    path = tmp_path_factory.mktemp("log") / "lines"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    logs.configure(level="warning", descriptor=descriptor)
    yield lambda: [json.loads(line) for line in path.read_text().splitlines()]
    logs.configure(level="warning")
    os.close(descriptor)
