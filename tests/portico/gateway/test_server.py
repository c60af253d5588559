"""The gateway on real sockets, with clients that behave and clients that do not."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from portico.gateway import Gateway, HttpServer, Limits, listen
from portico.gateway.listener import PortTakenError
from portico.rpc.local import LocalChannel
from portico.telemetry.metrics import Metrics

SERVICE = "library.v1.Library"


def _connect(served: Any) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", served.port), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _read_all(connection: socket.socket) -> bytes:
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    return received


def _read_until(connection: socket.socket, expected: bytes) -> None:
    received = b""
    while expected not in received:
        received += connection.recv(65536)


def _exchange(served: Any, sent: bytes) -> bytes:
    with closing(_connect(served)) as connection:
        connection.sendall(sent)
        return _read_all(connection)


def _status(received: bytes) -> int:
    return int(received.split(b" ", 2)[1])


def _reason(received: bytes) -> str:
    body = json.loads(received.partition(b"\r\n\r\n")[2])
    return str(body["details"][0]["reason"])


def _request(served: Any, method: str, path: str, **more: Any) -> tuple[int, Any, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)) as client:
        client.request(method, path, **more)
        answer = client.getresponse()
        return answer.status, answer.headers, answer.read()


def test_a_client_is_served(served: Any) -> None:
    body = json.dumps({"book": {"title": "ä"}})
    headers = {"Content-Type": "application/json", "Idempotency-Key": "k1"}
    status, answered, found = _request(served, "POST", "/v1/books", body=body, headers=headers)
    assert (status, answered["content-type"]) == (201, "application/json")
    assert answered["x-request-id"]
    assert json.loads(found)["book"]["title"] == "ä"
    assert json.loads(found)["requestId"] == "k1"


def test_a_connection_is_kept_for_the_next_request(served: Any) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)) as client:
        for name in ("a", "b", "c"):
            client.request("GET", f"/v1/books/{name}")
            port = client.sock.getsockname()[1]
            answer = client.getresponse()
            assert json.loads(answer.read())["name"] == name
            assert client.sock.getsockname()[1] == port


def test_pipelined_requests_are_answered_in_order(served: Any) -> None:
    with closing(_connect(served)) as connection:
        connection.sendall(
            b"".join(b"GET /v1/books/b%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(5))
            + b"GET /v1/books/last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        received = _read_all(connection)
    names = re.findall(rb'"name":"(\w+)"', received)
    assert names == [b"b0", b"b1", b"b2", b"b3", b"b4", b"last"]


def test_a_head_request_has_no_body(served: Any) -> None:
    status, headers, body = _request(served, "HEAD", "/v1/books/b1")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 0


def test_the_path_is_decoded_after_it_is_matched(served: Any) -> None:
    _, _, body = _request(served, "GET", "/v1/books/b%2F1%3Aborrow")
    assert json.loads(body)["name"] == "b/1:borrow"


def test_a_chunked_body_is_read_whole(served: Any) -> None:
    parts = iter([b'{"book":', b'{"title":"x"}', b"}"])
    status, _, body = _request(served, "POST", "/v1/books", body=parts, encode_chunked=True,
                               headers={"Transfer-Encoding": "chunked"})  # fmt: skip
    assert (status, json.loads(body)["book"]["title"]) == (201, "x")


def test_a_body_of_ten_megabytes_is_refused(contract: Any, channel: LocalChannel) -> None:
    server = HttpServer(Gateway(channel, [SERVICE]), listener=listen(host="127.0.0.1", port=0))
    server.start()
    large = b'{"book":{"title":"' + b"x" * 10_000_000 + b'"}}'
    try:
        status, headers, body = _request(server, "POST", "/v1/books", body=large)
        assert (status, headers["connection"]) == (413, "close")
        assert json.loads(body)["details"][0]["reason"] == "BODY_TOO_LARGE"
        chunks = (large[at : at + 100_000] for at in range(0, len(large), 100_000))
        status, _, _ = _request(server, "POST", "/v1/books", body=chunks, encode_chunked=True,
                                headers={"Transfer-Encoding": "chunked"})  # fmt: skip
        assert status == 413
    finally:
        assert server.stop(5)


def test_a_body_at_the_limit_is_taken_and_one_byte_more_is_not(served: Any) -> None:
    limit = 64 * 1024
    frame = len(b'{"book":{"title":""}}')
    for size, status in ((limit, 201), (limit + 1, 413)):
        body = b'{"book":{"title":"' + b"x" * (size - frame) + b'"}}'
        assert len(body) == size
        assert _request(served, "POST", "/v1/books", body=body)[0] == status


@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket"])
@pytest.mark.parametrize("split", [0, 40, 90, 200])
def test_an_offer_of_another_protocol_is_passed_over(
    served: Any, upgrade: bytes, split: int
) -> None:
    sent = (
        b"POST /v1/books HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: %s\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\nContent-Length: 22\r\n\r\n"
        b'{"book":{"title":"y"}}'
        b"GET /v1/books/b2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    ) % upgrade
    with closing(_connect(served)) as connection:
        connection.sendall(sent[:split])
        connection.sendall(sent[split:])
        received = _read_all(connection)
    assert _status(received) == 201
    assert b'"title":"y"' in received
    assert b'"name":"b2"' in received


def test_who_asks_before_sending_is_told_before_sending(served: Any) -> None:
    head = (
        b"POST /v1/books HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    )
    received = _exchange(served, head % 10_000_000)
    assert _status(received) == 413
    with closing(_connect(served)) as connection:
        connection.sendall(head % 2)
        assert connection.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert _status(connection.recv(65536)) == 201


def test_a_flood_is_cut_off(served: Any) -> None:
    head = b"POST /v1/books HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
    with closing(_connect(served)) as connection:
        connection.sendall(head)
        sent = 0
        with pytest.raises(OSError, match=r"."):
            while sent < 100_000_000:
                sent += connection.send(b"x" * 100_000)
    assert sent < 50_000_000


def test_a_body_that_does_not_come_is_not_waited_for(served: Any) -> None:
    for body in (b"", b'{"book":'):
        sent = b"POST /v1/books HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n" + body
        received = _exchange(served, sent)
        assert (_status(received), _reason(received)) == (408, "BODY_TOO_SLOW")


def test_a_client_that_leaves_in_its_body_is_no_error(served: Any) -> None:
    with closing(_connect(served)) as connection:
        connection.sendall(b"POST /v1/books HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert _request(served, "GET", "/v1/books/b1")[0] == 200


def test_slow_bodies_do_not_hold_up_other_requests(served: Any) -> None:
    slow = [_connect(served) for _ in range(20)]
    for connection in slow:
        connection.sendall(b"POST /v1/books HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
    assert _request(served, "GET", "/v1/books/b1")[0] == 200
    for connection in slow:
        connection.close()


@pytest.mark.parametrize(
    ("head", "status", "reason"),
    [
        (b"GET /v1/books?pageToken=%s HTTP/1.1\r\n" % (b"x" * 2000), 414, "TARGET_TOO_LONG"),
        (b"GET / HTTP/1.1\r\nX: %s\r\n" % (b"x" * 5000), 431, "HEAD_TOO_LARGE"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 40, 431, "HEAD_TOO_LARGE"),
        (b"GET / HTTP/1.1\r\nX: %s" % (b"x" * 1_000_000), 431, "HEAD_TOO_LARGE"),
        (b"CONNECT x:443 HTTP/1.1\r\n", 405, "METHOD_NOT_ALLOWED"),
        (b"nonsense\r\n", 400, "MALFORMED_HTTP"),
        (b"\x16\x03\x01\x02\x00", 400, "MALFORMED_HTTP"),
        (b"GET / HTTP/1.1\r\nX y\r\n", 400, "MALFORMED_HTTP"),
        (b"GET /\xff HTTP/1.1\r\n", 400, "MALFORMED_HTTP"),
        (
            b"POST /v1/books HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n",
            400,
            "MALFORMED_HTTP",
        ),
        (b"POST /v1/books HTTP/1.1\r\nContent-Length: -2\r\n", 400, "MALFORMED_HTTP"),
        (
            b"POST /v1/books HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n",
            400,
            "MALFORMED_HTTP",
        ),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_head_that_is_not_in_order_is_refused(
    served: Any, head: bytes, status: int, reason: str
) -> None:
    received = _exchange(served, head + b"Host: x\r\n\r\n")
    assert received, "the connection was cut without an answer"
    assert (_status(received), _reason(received)) == (status, reason)
    assert b"\r\nconnection: close\r\n" in received


def test_a_head_that_does_not_come_is_not_waited_for(served: Any) -> None:
    assert _status(_exchange(served, b"GET /v1/books HTTP/1.1\r\nHost:")) == 408
    assert _exchange(served, b"") == b""


def test_a_bad_request_does_not_take_the_answer_before_it(served: Any) -> None:
    sent = b"GET /v1/books/b1 HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\n"
    assert b'"name":"b1"' in _exchange(served, sent)


def test_sixty_four_clients_at_once_each_get_their_own_answer(served: Any) -> None:
    def ask(number: int) -> bool:
        body = json.dumps({"book": {"name": f"b{number}"}})
        return all(
            json.loads(_request(served, "POST", "/v1/books", body=body)[2])["book"]["name"]
            == f"b{number}"
            for _ in range(5)
        )

    with ThreadPoolExecutor(64) as clients:
        assert all(clients.map(ask, range(64)))


def test_connections_beyond_the_limit_are_told_to_come_back(fresh: Any) -> None:
    held = [_connect(fresh) for _ in range(150)]
    try:
        received = _exchange(fresh, b"")
        assert (_status(received), _reason(received)) == (503, "TOO_MANY_CONNECTIONS")
    finally:
        for connection in held:
            connection.close()


def test_too_much_waiting_is_refused_while_the_process_says_it_lives(
    contract: Any, channel: LocalChannel, servicer: Any
) -> None:
    gateway = Gateway(channel, [SERVICE], limits=Limits(waiting=1))
    server = HttpServer(gateway, listener=listen(host="127.0.0.1", port=0), threads=1)
    server.start()
    servicer.wake.clear()
    with ThreadPoolExecutor(2) as clients:
        first = clients.submit(_request, server, "GET", "/v1/nap?name=1")
        servicer.napping.acquire()  # the only thread is busy
        second = clients.submit(_request, server, "GET", "/v1/nap?name=2")
        refused = 0
        while not refused:  # as soon as the second one waits
            status, headers, _ = _request(server, "GET", "/v1/books/b1", headers={"x-probe": "1"})\
                if not server._workers._queue.empty() else (0, {}, b"")  # fmt: skip
            refused = status
        assert (refused, headers["retry-after"]) == (503, "1")
        assert _request(server, "GET", "/healthz")[0] == 200
        servicer.wake.set()
        assert first.result()[0] == second.result()[0] == 200
    servicer.napping.acquire()
    assert server.stop(5)


def test_a_request_that_would_wait_long_is_refused_however_few_wait(
    contract: Any, channel: LocalChannel, servicer: Any
) -> None:
    gateway = Gateway(channel, [SERVICE], limits=Limits(waiting_seconds=0.05))
    server = HttpServer(gateway, listener=listen(host="127.0.0.1", port=0), threads=1)
    metrics = Metrics()
    server.measure(metrics, listener="rest")
    server.start()
    servicer.wake.clear()
    with ThreadPoolExecutor(2) as clients:
        first = clients.submit(_request, server, "GET", "/v1/nap?name=1")
        servicer.napping.acquire()  # the only thread is busy
        second = clients.submit(_request, server, "GET", "/v1/nap?name=2")
        while not server._workers.waiting:
            time.sleep(0.01)
        time.sleep(0.06)
        status, headers, body = _request(server, "GET", "/v1/books/b1")
        assert (status, headers["retry-after"]) == (503, "1")
        assert b"OVERLOADED" in body
        told = metrics.render()[0].decode()
        assert 'portico_waiting_calls{listener="rest"} 1.0' in told
        assert 'portico_shed_calls_total{listener="rest"} 1.0' in told
        servicer.wake.set()
        assert first.result()[0] == second.result()[0] == 200
    servicer.napping.acquire()
    assert server.stop(5)


def test_a_stream_comes_line_by_line(served: Any) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)) as client:
        client.request("GET", "/v1/books:watch?count=3")
        answer = client.getresponse()
        assert answer.headers["transfer-encoding"] == "chunked"
        assert [json.loads(line)["name"] for line in answer] == ["b0", "b1", "b2"]
        client.request("GET", "/v1/books/b1")  # on the same connection
        assert client.getresponse().status == 200


def test_a_client_that_leaves_ends_its_stream(fresh: Any) -> None:
    with closing(_connect(fresh)) as connection:
        connection.sendall(
            b"GET /v1/books:watch?count=1&waitAtEnd=true HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        _read_until(connection, b'"b0"')
        assert not fresh.servicer.cancelled.is_set()
    assert fresh.servicer.cancelled.wait(10)


def test_streams_beyond_the_limit_are_told_to_come_back(fresh: Any) -> None:
    held = []
    for _ in range(2):
        connection = _connect(fresh)
        held.append(connection)
        connection.sendall(
            b"GET /v1/books:watch?count=1&waitAtEnd=true HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        assert connection.recv(65536)
    assert _request(fresh, "GET", "/v1/books:watch?count=1")[0] == 503
    assert _request(fresh, "GET", "/v1/books/b1")[0] == 200
    for connection in held:
        connection.close()


def test_a_client_that_does_not_read_does_not_hold_the_stream(fresh: Any) -> None:
    with closing(_connect(fresh)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        target = b"/v1/books:watch?count=1000000&titleBytes=100000"
        connection.sendall(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert fresh.servicer.cancelled.wait(10)


def test_stopping_lets_running_requests_finish(fresh: Any) -> None:
    idle = _connect(fresh)
    with ThreadPoolExecutor(2) as clients:
        running = clients.submit(_request, fresh, "GET", "/v1/nap?name=b1")
        fresh.servicer.napping.acquire()
        stopped = clients.submit(fresh.server.stop, 10)
        assert idle.recv(1) == b""  # an idle connection is closed at once
        with pytest.raises(OSError, match=r"."):
            _connect(fresh)
        fresh.servicer.wake.set()
        assert running.result()[0] == 200
        assert stopped.result() is True
    idle.close()


def test_stopping_does_not_wait_for_ever(fresh: Any) -> None:
    stream = _connect(fresh)
    stream.sendall(b"GET /v1/books:watch?count=1&waitAtEnd=true HTTP/1.1\r\nHost: x\r\n\r\n")
    assert stream.recv(65536)
    with ThreadPoolExecutor(1) as clients:
        running = clients.submit(_request, fresh, "GET", "/v1/nap?name=b1")
        fresh.servicer.napping.acquire()
        assert fresh.server.stop(0) is False
        status, _, body = running.result()
    assert (status, json.loads(body)["details"][0]["reason"]) == (503, "STOPPING")
    assert fresh.servicer.cancelled.wait(10)
    stream.close()


def test_a_port_is_taken_once(served: Any) -> None:
    with pytest.raises(PortTakenError, match=f"port {served.port} on 127.0.0.1 is taken"):
        listen(host="127.0.0.1", port=served.port)


@pytest.mark.parametrize("host", ["203.0.113.1", "not a host"])
def test_an_address_that_cannot_be_had_is_told(host: str) -> None:
    with pytest.raises(OSError, match=f"cannot listen on .*{host}"):
        listen(host=host, port=0)


def test_a_stop_leaves_no_thread_and_frees_the_port(gateway: Gateway) -> None:
    port, threads = 0, set(threading.enumerate())
    for _ in range(2):
        server = HttpServer(gateway, listener=listen(host="127.0.0.1", port=port))
        server.start()
        assert _request(server, "GET", "/v1/books/b1")[0] == 200
        assert port in {0, server.port}
        port = server.port
        assert server.stop(5)
        assert set(threading.enumerate()) == threads
