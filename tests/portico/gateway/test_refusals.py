"""Requests that come to no call are found in the log, by the request id their clients were told."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from portico.clock import SystemClock
from portico.gateway import Gateway, Request
from portico.gateway.problem import refuse
from portico.gateway.refusal import log_refusal
from portico.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """What has been logged of refusals so far, without what every line has."""
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    monkeypatch.setattr(logs, "_output", logs._Output("info", "json", descriptor, SystemClock()))

    def lines() -> list[dict[str, Any]]:
        found = [json.loads(line) for line in path.read_bytes().splitlines()]
        common = ("timestamp", "event", "level", "logger")
        return [
            {key: value for key, value in line.items() if key not in common}
            for line in found
            if (line["event"], line["level"]) == ("refused", "info")
        ]

    yield lines
    os.close(descriptor)


def _post(body: bytes = b"", *headers: tuple[str, str]) -> Request:
    return Request("POST", "/v1/books", "requestId=secret", headers, body)


def _get(*headers: tuple[str, str]) -> Request:
    return Request("GET", "/v1/books", "pageToken=secret", headers)


@pytest.mark.parametrize(
    ("request_", "status", "reason"),
    [
        (_post(b"{"), 400, "MALFORMED_JSON"),
        (_post(b'{"nope":1}'), 400, "INVALID_REQUEST"),
        (_post(b"a", ("content-type", "text/csv")), 415, "CONTENT_TYPE"),
        (_post(b"", ("idempotency-key", " ")), 400, "INVALID_IDEMPOTENCY_KEY"),
        (_get(("x-request-timeout", "x")), 400, "INVALID_TIMEOUT"),
        (_get(("x-much", "x" * 10_000)), 431, "HEADERS_TOO_LARGE"),
        (Request("GET", "/v1/nothing", "a=secret"), 404, "NO_ROUTE"),
        (Request("PUT", "/v1/books", "a=secret"), 405, "METHOD_NOT_ALLOWED"),
        (Request("POST", "/v1/books:collect"), 501, "STREAM_OF_REQUESTS"),
        (Request("POST", "/healthz"), 404, "NO_ROUTE"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_refusal_is_logged_once_with_the_id_the_client_got(
    gateway: Gateway, refusals: Lines, request_: Request, status: int, reason: str
) -> None:
    answer = gateway.handle(request_)
    assert answer.status == status
    assert refusals() == [
        {
            "http_method": request_.method,
            "path": request_.path,
            "status": status,
            "reason": reason,
            "request_id": answer.header("x-request-id"),
        }
    ]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/v1/books/b1"),
        ("GET", "/v1/fail/5"),  # a call, which the pipeline logs
        ("GET", "/v1/fail/3"),
        ("OPTIONS", "/v1/books"),
    ],
)
def test_probes_and_calls_are_no_refusals(
    gateway: Gateway, refusals: Lines, method: str, path: str
) -> None:
    gateway.handle(Request(method, path))
    assert refusals() == []


def test_a_probe_that_says_no_is_no_refusal(channel: Any, refusals: Lines) -> None:
    gateway = Gateway(channel, ["library.v1.Library"], not_ready=lambda: ["database"])
    assert gateway.handle(Request("GET", "/readyz")).status == 503
    assert refusals() == []


def test_nothing_is_logged_above_level_info(
    gateway: Gateway, refusals: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs._output, "threshold", 30)
    gateway.handle(Request("GET", "/v1/nothing"))
    assert refusals() == []


def test_what_is_logged_of_a_path_is_short_and_printable(refusals: Lines) -> None:
    code = grpc.StatusCode.NOT_FOUND
    log_refusal("GET", "/\x1b[2J\n\ud800", refuse(404, code, "NO_ROUTE", "nothing", "r1"))
    log_refusal("GET", "/" + "ä" * 10_000, refuse(404, code, "NO_ROUTE", "nothing", "r1"))
    odd, long = (line["path"] for line in refusals())
    assert odd == r"/\x1b[2J\n\ud800"
    assert long == "/" + "ä" * 199 + "…"


def _exchange(served: Any, sent: bytes) -> bytes:
    received = b""
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.sendall(sent)
        while chunk := connection.recv(65536):
            received += chunk
    return received


def test_a_body_that_is_not_read_is_logged_too(served: Any, refusals: Lines) -> None:
    head = b"POST /v1/books?pageToken=secret HTTP/1.1\r\nHost: x\r\nX-Request-Id: r7\r\n"
    received = _exchange(served, head + b"Expect: 100-continue\r\nContent-Length: 9999999\r\n\r\n")
    assert b"x-request-id: r7" in received
    _exchange(served, head + b"Content-Length: 10\r\n\r\n")
    known = {"http_method": "POST", "path": "/v1/books", "request_id": "r7"}
    assert refusals() == [
        {**known, "status": 413, "reason": "BODY_TOO_LARGE"},
        {**known, "status": 408, "reason": "BODY_TOO_SLOW"},
    ]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"GET /v1/books?pageToken=%s HTTP/1.1" % (b"x" * 2000), ("GET", "/v1/books", 414)),
        (b"PATCH /v1/x HTTP/1.1\r\nX: %s" % (b"x" * 5000), ("PATCH", "/v1/x", 431)),
        (b"PUT /v1/x HTTP/1.1\r\nX y", ("PUT", "/v1/x", 400)),
        (b"\x16\x03\x01\x02\x00", ("", "", 400)),
        (b"GET /v1/books/b1 HTTP/1.1\r\nHost: x\r\n\r\n\x16\x03", None),
    ],
    ids=["target", "head", "header", "TLS", "behind another"],
)
def test_a_head_that_is_refused_is_logged_with_what_is_known_of_it(
    served: Any, refusals: Lines, sent: bytes, expected: tuple[str, str, int] | None
) -> None:
    _exchange(served, sent + b"\r\n\r\n")
    found = [(line["http_method"], line["path"], line["status"]) for line in refusals()]
    assert found == ([] if expected is None else [expected])
    assert all("request_id" not in line for line in refusals())


def test_a_head_is_not_logged_under_the_request_before_it(served: Any, refusals: Lines) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.sendall(b"GET /v1/books/b1 HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        while b'"name":"b1"' not in received:
            received += connection.recv(65536)
        connection.sendall(b"\x16\x03\x01\r\n\r\n")
        while connection.recv(65536):
            pass
    [line] = refusals()
    assert (line["http_method"], line["path"], line["reason"]) == ("", "", "MALFORMED_HTTP")
