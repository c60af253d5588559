"""What the laboratory of trouble shows, held to its aims: overload, an outage, a deadline over a chain."""

from __future__ import annotations

import contextlib
import socket
from statistics import median
from typing import TYPE_CHECKING, Any

from portico.lab import chain, http2, outage, overload, work_server
from portico.rpc.policy import Policy
from portico.rpc.registry import Registry
from portico.rpc.server import Server

if TYPE_CHECKING:
    import pytest

_BETWEEN_PINGS_SECONDS = 5.1  # the least that ``remote.keepalive_seconds`` can be is above it


def test_a_server_with_four_times_its_load_goes_on() -> None:
    found = overload.measure()["servers"]["by wait"]
    print(found)

    assert found["goodput_of_peak"] >= overload.AIM_GOODPUT
    assert found["p99_ms"] < overload.AIM_P99_MS
    before, after = found["resident_mib"]
    assert after < before + 50
    assert found["lost"] == 0


def test_a_callee_that_is_killed_costs_its_callers_little() -> None:
    found = outage.measure()
    print({name: value for name, value in found.items() if name != "phases"})

    assert found["open_p99_ms"] < outage.AIM_P99_MS
    assert found["amplification"] < outage.AIM_AMPLIFICATION
    assert found["without_breaker"]["amplification"] < outage.AIM_AMPLIFICATION
    assert found["back_after_seconds"] < outage.AIM_BACK_SECONDS


def test_a_deadline_ends_a_chain_of_processes() -> None:
    found = chain.measure(calls=chain.CALLS)

    assert found["codes"] == {"DEADLINE_EXCEEDED": chain.CALLS}
    deadline_ms, off_ms = chain.DEADLINE_SECONDS * 1000, chain.AIM_SECONDS_OFF * 1000
    assert abs(median(found["took_ms"]) - deadline_ms) < off_ms
    assert not any(found["still_at_work"].values())


def test_the_aims_can_be_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a server that lets a thousand calls wait."""
    rules: dict[str, Any] = {"by number": work_server.RULES["by number"]}
    monkeypatch.setattr(work_server, "RULES", rules)
    found = overload.measure()["servers"]["by number"]

    assert found["p99_ms"] >= overload.AIM_P99_MS


def test_a_quiet_connection_may_be_probed_as_often_as_settings_allow() -> None:
    """gRPC's own servers end a connection with "too many pings" at the third within minutes."""
    server = Server()
    server.bind()
    server.mount(Registry(), Policy())
    server.start()
    host, _, port = server.address.rpartition(":")
    kinds = []
    with socket.create_connection((host, int(port)), timeout=_BETWEEN_PINGS_SECONDS) as connection:
        connection.sendall(http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0, b""))
        for _ in range(5):
            kinds += _kinds_until_quiet(connection)
            connection.sendall(http2.frame(http2.PING, 0, 0, b"portico!"))
        kinds += _kinds_until_quiet(connection)
    server.stop(0)

    assert kinds.count(http2.PING) >= 5
    assert http2.GOAWAY not in kinds


def _kinds_until_quiet(connection: socket.socket) -> list[int]:
    """The kinds of the frames that come; returns after as long as the shortest time between two pings."""
    data = b""
    with contextlib.suppress(TimeoutError):
        while received := connection.recv(65536):
            data += received
    kinds, at = [], 0
    while at + http2.FRAME_HEADER <= len(data):
        size, kind, _, _ = http2.frame_header(data, at)
        kinds.append(kind)
        at += http2.FRAME_HEADER + size
    return kinds
