"""How HTTP requests become messages. Most methods of the tests' contract answer with what they got."""

from __future__ import annotations

import json
from typing import Any

import pytest

from portico.gateway import Gateway, Limits, Request, Response
from portico.rpc.local import LocalChannel

SERVICE = "library.v1.Library"


def _send(gateway: Gateway, method: str, target: str, body: Any = None, **headers: str) -> Response:
    path, _, query = target.partition("?")
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    pairs = [(key.replace("_", "-"), value) for key, value in headers.items()]
    return gateway.handle(Request(method, path, query, pairs, data))


def _read(response: Response) -> Any:
    assert response.status in {200, 201}, response
    return json.loads(response.body)


def _refused(response: Response, status: int, *fields: str) -> Any:
    assert response.status == status, response
    found = json.loads(response.body)
    assert response.header("content-type") == "application/json"
    named = [
        each["field"] for detail in found["details"] for each in detail.get("fieldViolations", ())
    ]
    assert named == list(fields)
    return found


def test_path_variables_fill_their_fields(gateway: Gateway) -> None:
    assert _read(_send(gateway, "GET", "/v1/shelves/3/books"))["parent"] == "shelves/3"
    assert _read(_send(gateway, "GET", "/v1/books/b%2F1%20%C3%A4"))["name"] == "b/1 ä"
    assert _read(_send(gateway, "POST", "/v1/books/b1:borrow", {}))["name"] == "b1"
    patched = _send(gateway, "PATCH", "/v1/books/b1", {"title": "x"})
    assert _read(patched)["name"] == "b1"


def test_a_method_has_as_many_routes_as_bindings(gateway: Gateway) -> None:
    assert _read(_send(gateway, "GET", "/v1/books"))["parent"] == ""
    assert _read(_send(gateway, "GET", "/v1/shelves/1/books"))["parent"] == "shelves/1"


def test_custom_methods_are_served(gateway: Gateway) -> None:
    assert _read(_send(gateway, "PURGE", "/v1/books/b1"))["name"] == "b1"
    assert _read(_send(gateway, "WHATEVER", "/v1/any/b1"))["name"] == "b1"


@pytest.mark.parametrize(
    ("query", "field", "value"),
    [
        ("page_size=3", "pageSize", 3),
        ("pageSize=3", "pageSize", 3),
        ("pageToken=a+b%2B%26c", "pageToken", "a b+&c"),
        ("pageToken=", "pageToken", ""),
        ("pageToken", "pageToken", ""),
        ("&&pageSize=3&", "pageSize", 3),
    ],
)
def test_query_parameters_fill_fields(gateway: Gateway, query: str, field: str, value: Any) -> None:
    assert _read(_send(gateway, "GET", f"/v1/books?{query}"))[field] == value


@pytest.mark.parametrize(
    ("query", "field", "value"),
    [
        ("bindings=PAPER&filter.bindings=2", "bindings", ["PAPER", "LEATHER"]),
        ("years=-1&filter.years=9007199254740993", "years", ["-1", "9007199254740993"]),
        ("lent=true", "lent", True),
        ("since=2026-05-29T13:07:00Z", "since", "2026-05-29T13:07:00Z"),
        ("within=1.5s", "within", "1.500s"),
        ("readMask=a,b.c", "readMask", "a,b.c"),
        ("read_mask=display_name,author.family_name", "readMask", "displayName,author.familyName"),
        ("pages=5", "pages", 5),
        ("signed=false", "signed", False),
        ("binding=LEATHER", "binding", "LEATHER"),
        ("price=1e3", "price", 1000),
        ("price=-Infinity", "price", "-Infinity"),
        ("digest=aGk", "digest", "aGk="),
        ("author.familyName=Y", "author", {"familyName": "Y"}),
        ("author.family_name=Y", "author", {"familyName": "Y"}),
        ("note=", "note", ""),
    ],
)
def test_query_parameters_reach_nested_fields_of_every_kind(
    gateway: Gateway, query: str, field: str, value: Any
) -> None:
    full = query if query.startswith("filter.") else f"filter.{query}"
    assert _read(_send(gateway, "GET", f"/v1/books?{full}"))["filter"][field] == value


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("nope=1", "nope"),
        ("filter.nope=1", "filter.nope"),
        ("pageSize.x=1", "pageSize.x"),
        ("filter=x", "filter"),
        ("filter.labels=x", "filter.labels"),
        ("filter.labels.a=x", "filter.labels.a"),
        ("filter.extra=x", "filter.extra"),
        ("filter.author=x", "filter.author"),
        ("=1", ""),
        ("pageSize=x", "pageSize"),
        ("pageSize=", "pageSize"),
        ("pageSize=1_0", "pageSize"),
        ("pageSize=2147483648", "pageSize"),
        ("pageSize=1&page_size=2", "pageSize"),
        ("filter.lent=yes", "filter.lent"),
        ("filter.lent=", "filter.lent"),
        ("filter.binding=paper", "filter.binding"),
        ("filter.binding=99999999999", "filter.binding"),
        ("filter.years=x", "filter.years[0]"),
        ("filter.years=1&filter.years=x", "filter.years[1]"),
        ("filter.since=yesterday", "filter.since"),
        ("filter.digest=!", "filter.digest"),
        ("pageToken=%ff", "pageToken"),
        ("%ff=1", "%ff"),
    ],
)
def test_a_query_that_does_not_fit_is_refused_by_name(
    gateway: Gateway, query: str, field: str
) -> None:
    _refused(_send(gateway, "GET", f"/v1/books?{query}"), 400, field)


def test_a_query_has_a_bounded_number_of_parameters(channel: LocalChannel) -> None:
    gateway = Gateway(channel, [SERVICE], limits=Limits(parameters=3))
    assert _send(gateway, "GET", "/v1/books?filter.years=1&filter.years=2").status == 200
    _refused(_send(gateway, "GET", "/v1/books?" + "filter.years=1&" * 4), 400)


def test_a_body_is_the_whole_request_or_one_field_of_it(gateway: Gateway) -> None:
    whole = _send(gateway, "POST", "/v1/books", {"parent": "p", "book": {"title": "x"}})
    assert whole.status == 201
    assert (_read(whole)["parent"], _read(whole)["book"]["title"]) == ("p", "x")
    part = _read(_send(gateway, "POST", "/v1/shelves/1/books?requestId=r", {"title": "x"}))
    assert (part["parent"], part["book"]["title"], part["requestId"]) == ("shelves/1", "x", "r")


def test_an_empty_body_is_an_empty_message(gateway: Gateway) -> None:
    assert _read(_send(gateway, "POST", "/v1/books/b1:borrow"))["name"] == "b1"
    assert _read(_send(gateway, "POST", "/v1/shelves/1/books"))["book"]["title"] == ""


def test_query_parameters_add_to_a_body(gateway: Gateway) -> None:
    found = _read(_send(gateway, "POST", "/v1/shelves/1/books?book.tags=b", {"tags": ["a"]}))
    assert found["book"]["tags"] == ["a", "b"]


@pytest.mark.parametrize("book", [{"name": "b1"}, {"name": None}, {}])
def test_path_and_body_may_say_the_same(gateway: Gateway, book: Any) -> None:
    assert _read(_send(gateway, "PATCH", "/v1/books/b1", book))["name"] == "b1"


@pytest.mark.parametrize(
    ("method", "target", "body", "field"),
    [
        ("PATCH", "/v1/books/b1", {"name": "b2"}, "book.name"),
        ("PUT", "/v1/books/b1", {"book": {"name": "b2"}}, "book.name"),
        ("POST", "/v1/books/b1:borrow", {"name": "b2"}, "name"),
        ("POST", "/v1/books/b1:borrow?name=b2", None, "name"),
        ("GET", "/v1/books/b1?name=b2", None, "name"),
    ],
)
def test_what_path_and_body_say_differently_is_refused(
    gateway: Gateway, method: str, target: str, body: Any, field: str
) -> None:
    _refused(_send(gateway, method, target, body), 400, field)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"title": 5}, "book.title"),
        ({"nope": 5}, "book.nope"),
        ({"author": {"familyName": []}}, "book.author.familyName"),
        ([], "book"),
        ("x", "book"),
    ],
)
def test_a_body_that_does_not_fit_is_refused_by_name(
    gateway: Gateway, body: Any, field: str
) -> None:
    found = _refused(_send(gateway, "POST", "/v1/shelves/1/books", body), 400, field)
    assert found["code"] == 3
    assert found["message"].startswith(field)
    assert found["details"][0]["reason"] == "INVALID_REQUEST"


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"title":"a","title":"b"}', b"[" * 10_000])
def test_a_body_that_is_not_json_is_refused(gateway: Gateway, body: bytes) -> None:
    found = _refused(_send(gateway, "POST", "/v1/books", body), 400)
    assert found["message"].startswith("the body is not JSON: ")
    assert found["details"][0]["reason"] == "MALFORMED_JSON"


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 201),
        ("Application/JSON; charset=UTF-8", 201),
        ("application/merge-patch+json", 201),
        ("application/json; charset=latin-1", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 201),  # what curl -d says of anything
        ("multipart/form-data; boundary=x", 415),
        ("application/jsonp", 415),
    ],
)
def test_a_body_says_that_it_is_json_or_nothing(
    gateway: Gateway, content_type: str, status: int
) -> None:
    answer = _send(gateway, "POST", "/v1/books", {}, content_type=content_type)
    assert answer.status == status
    assert _send(gateway, "POST", "/v1/books", {}).status == 201


def test_a_body_is_not_looked_at_where_none_is_bound(gateway: Gateway) -> None:
    answer = _send(gateway, "GET", "/v1/books/b1", b"\xff", content_type="text/plain")
    assert _read(answer)["name"] == "b1"


def test_raw_bodies_go_through_untouched(gateway: Gateway) -> None:
    data = bytes(range(256))
    answer = _send(gateway, "POST", "/v1/raw", data, content_type="image/x-y")
    assert (answer.status, answer.body, answer.header("content-type")) == (200, data, "image/x-y")
    upload = _read(_send(gateway, "POST", "/v1/files/a/b.txt", data, content_type="image/x-y"))
    assert upload["path"] == "a/b.txt"
    assert upload["content"]["contentType"] == "image/x-y"
    download = _send(gateway, "GET", "/v1/files/a%2Fb/c%20d")
    assert (download.body, download.header("content-type")) == (b"a%2Fb/c d", "text/plain")


def test_an_answer_may_be_one_field(gateway: Gateway) -> None:
    answer = _send(gateway, "PATCH", "/v1/books/b1", {"title": "x"})
    assert _read(answer)["title"] == "x"
    assert _read(_send(gateway, "PUT", "/v1/books/b1", {"book": {"title": "ä"}})) == "ä"
    assert _read(_send(gateway, "DELETE", "/v1/books/b1")) == {}


@pytest.mark.parametrize("path", ["/v1/books/%ff", "/v1/files/a/%c3"])
def test_a_path_that_is_not_utf8_is_refused_by_name(gateway: Gateway, path: str) -> None:
    _refused(_send(gateway, "GET", path), 400, "path" if "files" in path else "name")


def test_an_unknown_field_is_named_as_it_was_sent(gateway: Gateway) -> None:
    found = _refused(_send(gateway, "POST", "/v1/books", {"em_ial": 1}), 400, "em_ial")
    assert found["message"] == "em_ial: is not a field of this request"


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("/v1/books?pageSize=two", "pageSize: must be a whole number"),
        ("/v1/books?nope=1", "nope: is not a parameter of this request"),
        ("/v1/books?pageSize=1&pageSize=2", "pageSize: is given twice"),
        ("/v1/books/%ff", "name: is not UTF-8 in the path"),
    ],
)
def test_path_and_query_are_refused_in_the_same_style(
    gateway: Gateway, target: str, told: str
) -> None:
    found = json.loads(_send(gateway, "GET", target).body)
    assert found["message"] == told
    [violation] = found["details"][1]["fieldViolations"]
    assert told == f"{violation['field']}: {violation['description']}"


def test_unknown_paths_and_methods_are_told_apart(gateway: Gateway) -> None:
    missing = _refused(_send(gateway, "GET", "/v1/nothing"), 404)
    assert missing["details"][0]["reason"] == "NO_ROUTE"
    wrong = _send(gateway, "PUT", "/v1/books")
    assert _refused(wrong, 405)["details"][0]["reason"] == "METHOD_NOT_ALLOWED"
    assert wrong.header("allow") == "GET, HEAD, POST, OPTIONS"
    options = _send(gateway, "OPTIONS", "/v1/books")
    assert (options.status, options.header("allow")) == (204, "GET, HEAD, POST, OPTIONS")
    assert _send(gateway, "OPTIONS", "/v1/nothing").status == 404
    assert _send(gateway, "HEAD", "/v1/books").status == 200
    assert _send(gateway, "GET", f"/{SERVICE}/Unrouted").status == 404


def test_streams_of_requests_are_not_served(gateway: Gateway) -> None:
    found = _refused(_send(gateway, "POST", "/v1/books:collect", {}), 501)
    assert found["code"] == 12


def test_an_idempotency_key_names_the_request(gateway: Gateway) -> None:
    def borrow(body: Any, key: str) -> Response:
        return _send(gateway, "POST", "/v1/books/b1:borrow", body, idempotency_key=key)

    assert _read(borrow({}, "k1"))["requestId"] == "k1"
    assert _read(borrow({"requestId": "k1"}, "k1"))["requestId"] == "k1"
    _refused(borrow({"requestId": "k2"}, "k1"), 400, "requestId")
    for bad in ("", "k" * 129, "a b", "ä"):
        found = _refused(borrow({}, bad), 400)
        assert found["details"][0]["reason"] == "INVALID_IDEMPOTENCY_KEY"


def test_end_to_end_headers_become_metadata(gateway: Gateway) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    sent = [
        ("host", "x"),
        ("authorization", "Bearer a"),
        ("authorization", "Bearer b"),
        ("traceparent", trace),
        ("tracestate", "a=1"),
        ("x-webhook-signature", "t=1,v1=ab"),
        ("idempotency-key", "k"),
        ("cookie", "secret=1"),
        ("connection", "keep-alive, X-Hop"),
        ("x-hop", "1"),
        ("te", "trailers"),
        ("content-length", "0"),
        ("content-type", "application/json"),
        ("grpc-timeout", "1S"),
        ("x-raw-bin", "AA=="),
        ("x-umlaut", "ä"),
        ("x-ctl", "a\tb"),
        ("x-portico-caller", "orders"),
        ("user-agent", "curl"),
    ]
    answer = gateway.handle(Request("GET", "/v1/headers", headers=sent))
    found = _read(answer)["headers"]
    assert found == {
        "authorization": "Bearer a",
        "traceparent": trace,
        "tracestate": "a=1",
        "x-webhook-signature": "t=1,v1=ab",
        "idempotency-key": "k",
        "x-request-id": answer.header("x-request-id"),
    }


def test_a_trace_that_is_none_is_left_out(gateway: Gateway) -> None:
    answer = _send(gateway, "GET", "/v1/headers", traceparent="00-zz")
    assert "traceparent" not in _read(answer)["headers"]


def test_headers_have_a_bounded_size(gateway: Gateway) -> None:
    _refused(_send(gateway, "GET", "/v1/headers", x_large="a" * 8192), 431)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("abc-1", True),
        ("!" * 128, True),
        ("", False),
        ("a b", False),
        ("x" * 129, False),
        ("ä", False),
    ],
)
def test_a_request_id_is_kept_or_made(gateway: Gateway, given: str, *, kept: bool) -> None:
    for target in ("/v1/headers", "/v1/nothing", "/v1/fail/3", "/v1/books?nope=1"):
        answer = _send(gateway, "GET", target, x_request_id=given)
        found = answer.header("x-request-id")
        assert (found == given) is kept
        assert found


def test_request_ids_differ(gateway: Gateway) -> None:
    ids = {_send(gateway, "GET", "/v1/headers").header("x-request-id") for _ in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize("timeout", ["0", "-1", "x", "1s", "1e3", "", "nan", "1.", " 1"])
def test_a_timeout_is_seconds_above_zero(gateway: Gateway, timeout: str) -> None:
    answer = _send(gateway, "GET", "/v1/headers", x_request_timeout=timeout)
    assert _refused(answer, 400)["details"][0]["reason"] == "INVALID_TIMEOUT"


def test_a_timeout_becomes_the_deadline(channel: LocalChannel) -> None:
    limits = Limits(default_timeout_seconds=20, timeout_seconds=60)
    gateway = Gateway(channel, [SERVICE], limits=limits)

    def left(**headers: str) -> float:
        found = _read(_send(gateway, "GET", "/v1/headers", **headers))
        return float(found["timeLeft"])

    assert 15 < left() <= 20
    assert 25 < left(x_request_timeout="30.5") <= 30.5
    assert 50 < left(x_request_timeout="3600") <= 60
