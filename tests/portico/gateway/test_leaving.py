"""A server that leaves while others accept from the same socket."""

from __future__ import annotations

import http.client
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from portico.gateway import Gateway, HttpServer, inherited, listen
from portico.rpc.local import LocalChannel

SERVICE = "library.v1.Library"


@pytest.fixture
def two(contract: Any, servicer: Any) -> Iterator[Any]:
    """Two servers on copies of one socket, as two processes have it."""
    channel = LocalChannel()
    contract.services.add_LibraryServicer_to_server(servicer, channel)
    listener = listen(host="127.0.0.1", port=0)
    servers = [
        HttpServer(Gateway(channel, [SERVICE]), listener=inherited(os.dup(listener.fileno())))
        for _ in range(2)
    ]
    for server in servers:
        server.start()
    yield SimpleNamespace(old=servers[0], new=servers[1], port=servers[0].port)
    for server in servers:
        server.stop(5)
    listener.close()


def _asked(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
    connection.request("GET", "/readyz")
    response = connection.getresponse()
    response.read()
    return response


@contextmanager
def _connections(port: int, count: int) -> Iterator[list[http.client.HTTPConnection]]:
    """So many, each with an answer behind it."""
    found = [http.client.HTTPConnection("127.0.0.1", port, timeout=20) for _ in range(count)]
    try:
        assert {_asked(each).status for each in found} == {200}
        yield found
    finally:
        for each in found:
            each.close()


def test_open_connections_are_closed_with_an_answer_and_never_without(two: Any) -> None:
    with _connections(two.port, 20) as connections:
        two.old.leave()
        two.new.leave()
        answers = [_asked(each) for each in connections]
    assert {answer.status for answer in answers} == {200}
    assert {answer.getheader("connection") for answer in answers} == {"close"}


def test_new_connections_go_to_the_other_one(two: Any) -> None:
    two.old.leave()
    two.old.stop(5)
    with _connections(two.port, 20) as fresh:
        assert {_asked(each).getheader("connection") for each in fresh} == {None}


def test_no_request_fails_while_one_of_two_leaves(two: Any) -> None:
    failures: list[Exception] = []
    stopping = threading.Event()

    def ask() -> None:
        kept = http.client.HTTPConnection("127.0.0.1", two.port, timeout=20)
        while not stopping.is_set():
            fresh = http.client.HTTPConnection("127.0.0.1", two.port, timeout=20)
            for connection in (kept, fresh):
                try:
                    assert _asked(connection).status == 200
                except Exception as failure:  # noqa: BLE001  # each one counts
                    failures.append(failure)
            fresh.close()
        kept.close()

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    two.old.leave()
    stopping.wait(0.5)  # each connection has its last answer
    two.old.stop(5)
    stopping.wait(0.2)
    stopping.set()
    for client in clients:
        client.join()
    assert failures == []


def test_a_request_under_way_is_answered_and_the_connection_closed(two: Any) -> None:
    with _connections(two.port, 1) as (connection,):
        connection.putrequest("POST", "/nowhere")
        connection.putheader("content-length", "1")
        connection.endheaders()
        two.old.leave()
        two.new.leave()
        time.sleep(0.1)  # both have left by now; were they slower, the answer would be the same
        connection.send(b"x")
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("connection")) == (404, "close")


def test_what_is_no_listening_socket_is_refused() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="is no socket that listens"):
            inherited(os.dup(other.fileno()))
