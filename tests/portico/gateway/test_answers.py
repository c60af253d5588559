"""How calls end over REST: errors, streams, probes, and what stops a start."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from portico import errors
from portico.gateway import Gateway, Request, Response
from portico.gateway.problem import HTTP_STATUS, json_path, respond
from portico.gateway.rules import RuleError
from portico.rpc.local import LocalChannel
from portico.rpc.status import from_parts

SERVICE = "library.v1.Library"


def _get(gateway: Gateway, target: str, method: str = "GET") -> Response:
    path, _, query = target.partition("?")
    return gateway.handle(Request(method, path, query))


@pytest.mark.parametrize(
    ("code", "status"),
    [
        *((1, 499), (3, 400), (4, 504), (5, 404), (6, 409), (7, 403), (8, 429)),
        *((9, 400), (10, 409), (11, 400), (12, 501), (14, 503), (16, 401)),
    ],
)
def test_a_status_is_told_as_http_and_in_the_body(gateway: Gateway, code: int, status: int) -> None:
    answer = _get(gateway, f"/v1/fail/{code}")
    assert answer.status == status
    assert json.loads(answer.body) == {"code": code, "message": "because", "details": []}
    assert answer.header("www-authenticate") == ("Bearer" if status == 401 else None)


def test_every_code_has_its_http_status() -> None:
    assert set(HTTP_STATUS) == set(grpc.StatusCode)


@pytest.mark.parametrize("target", ["/v1/fail/13?how=secret", "/v1/fail/2?how=secret"])
def test_a_fault_of_ours_is_told_in_one_plain_sentence(gateway: Gateway, target: str) -> None:
    answer = _get(gateway, target)
    found = json.loads(answer.body)
    assert answer.status == 500
    error_id = found["details"][0]["metadata"]["error_id"]
    assert found["message"] == f"something went wrong on our side; error id {error_id}"
    assert b"secret" not in answer.body


def test_a_bug_shows_an_error_id_only(gateway: Gateway) -> None:
    answer = _get(gateway, "/v1/fail/0?how=bug")
    assert answer.status == 500
    assert re.search(rb"error id [0-9a-f]{16}", answer.body)
    assert b"hunter2" not in answer.body
    assert b"RuntimeError" not in answer.body


def test_a_reason_travels_with_its_facts(gateway: Gateway) -> None:
    answer = _get(gateway, "/v1/fail/0?how=typed")
    assert answer.status == 404
    assert json.loads(answer.body) == {
        "code": 5,
        "message": "no such book",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "BOOK_NOT_FOUND",
                "domain": "library.v1",
                "metadata": {"name": "b1"},
            }
        ],
    }


def test_a_servicers_violations_name_fields_as_json_does(gateway: Gateway) -> None:
    found = json.loads(_get(gateway, "/v1/fail/0?how=fields").body)
    assert found["message"] == "someBooks[0].pageCount: too many"
    assert found["details"][1]["fieldViolations"] == [
        {"field": "someBooks[0].pageCount", "description": "too many", "reason": "int32.lte"},
        {"field": 'someBooks[0].author["x_y"].familyName', "description": "unknown", "reason": ""},
    ]


def test_paths_become_json_names_by_contract_or_by_rule(contract: Any) -> None:
    everything = contract.messages.Everything.DESCRIPTOR
    for path, expected in {
        "renamed_field": "Umbenannt_X",
        "many[3].by_number[1].family_name": "many[3].byNumber[1].familyName",
        'counts["a.b_c"]': 'counts["a.b_c"]',
        "not_a.field_here": "notA.fieldHere",
        "": "",
    }.items():
        assert json_path(path, everything) == expected


def test_details_of_other_kinds_are_kept_and_tell_when_to_retry() -> None:
    retry = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=2, nanos=1))
    packed = any_pb2.Any()
    packed.Pack(retry)
    strange = any_pb2.Any(type_url="type.googleapis.com/not.Known", value=b"hi")
    status = status_pb2.Status(code=14, message="later", details=[packed, strange])
    error = errors.StatusError(
        grpc.StatusCode.UNAVAILABLE,
        "later",
        trailing=(("grpc-status-details-bin", status.SerializeToString()),),
    )
    answer = respond(error, "r1")
    assert (answer.status, answer.header("retry-after")) == (503, "3")
    assert json.loads(answer.body)["details"] == [
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2.000000001s"},
        {"@type": "type.googleapis.com/not.Known", "value": "aGk="},
    ]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.resource_exhausted("BUSY", "wait", retry_after_seconds=60), "60"),
        (errors.unavailable("BUSY", "wait", retry_after_seconds=0.2), "1"),
        (errors.unavailable("BUSY", "wait", retry_after_seconds="soon"), None),
        (errors.unavailable("BUSY", "wait", retry_after_seconds=-1), None),
        (errors.unavailable("BUSY", "wait"), None),
        (errors.aborted("BUSY", "wait", retry_after_seconds=60), None),
    ],
)
def test_an_error_that_knows_when_to_come_back_says_so_in_a_header(
    error: errors.StatusError, expected: str | None
) -> None:
    assert respond(error, "r1").header("retry-after") == expected


def test_the_time_to_come_back_is_told_once() -> None:
    info, retry = any_pb2.Any(), any_pb2.Any()
    info.Pack(error_details_pb2.ErrorInfo(reason="BUSY", metadata={"retry_after_seconds": "9"}))
    retry.Pack(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=2)))
    status = status_pb2.Status(code=14, message="later", details=[info, retry])
    error = from_parts(
        grpc.StatusCode.UNAVAILABLE,
        "later",
        trailing=(("grpc-status-details-bin", status.SerializeToString()),),
    )
    answer = respond(error, "r1")
    assert [value for name, value in answer.headers if name == "retry-after"] == ["2"]


@pytest.mark.parametrize(
    ("reason", "challenge"),
    [
        ("SIGN_IN_REQUIRED", "Bearer"),
        ("TOKEN_EXPIRED", "Bearer"),
        ("TOKEN_INVALID", "Bearer"),
        ("WEBHOOK_SIGNATURE_INVALID", None),
        ("CREDENTIALS_INVALID", None),
    ],
)
def test_an_access_token_is_asked_for_only_where_one_helps(
    reason: str, challenge: str | None
) -> None:
    answer = respond(errors.unauthenticated(reason, "no"), "r1")
    assert (answer.status, answer.header("www-authenticate")) == (401, challenge)


def _lines(response: Response) -> list[Any]:
    assert response.chunks is not None
    return [json.loads(line) for line in b"".join(response.chunks).splitlines()]


def test_a_stream_is_one_line_of_json_a_message(gateway: Gateway) -> None:
    answer = _get(gateway, "/v1/books:watch?count=3")
    assert (answer.status, answer.header("content-type")) == (200, "application/x-ndjson")
    assert [line["name"] for line in _lines(answer)] == ["b0", "b1", "b2"]


def test_a_stream_that_breaks_says_so_in_its_last_line(gateway: Gateway) -> None:
    lines = _lines(_get(gateway, "/v1/books:watch?count=3&failAfter=2"))
    assert [line.get("name") for line in lines] == ["b0", "b1", None]
    assert lines[-1]["error"]["code"] == 9
    assert lines[-1]["error"]["details"][0]["reason"] == "TORN"


def test_a_stream_that_fails_at_once_is_an_ordinary_error(gateway: Gateway) -> None:
    answer = _get(gateway, "/v1/books:watch?failAfter=1")
    assert (answer.status, answer.chunks) == (404, None)


def test_an_empty_stream_is_an_empty_body(gateway: Gateway) -> None:
    answer = _get(gateway, "/v1/books:watch")
    assert (answer.status, answer.body, answer.chunks) == (200, b"", None)


def test_a_stream_of_raw_bodies_is_what_they_are(gateway: Gateway) -> None:
    answer = _get(gateway, "/v1/files:tail?count=3")
    assert answer.header("content-type") == "text/csv"
    assert answer.chunks is not None
    assert b"".join(answer.chunks) == b"0,1,2,"


def test_probes_tell_what_is_not_ready(channel: LocalChannel) -> None:
    missing = ["database"]
    gateway = Gateway(
        channel, [SERVICE], not_ready=lambda: missing, metrics=lambda: (b"up 1\n", "text/plain")
    )
    assert _get(gateway, "/healthz").status == 200
    answer = _get(gateway, "/readyz")
    assert (answer.status, json.loads(answer.body)["notReady"]) == (503, ["database"])
    missing.clear()
    assert _get(gateway, "/readyz").status == 200
    assert _get(gateway, "/metrics").body == b"up 1\n"
    assert _get(gateway, "/healthz", "POST").status == 404


def test_a_probe_that_breaks_is_not_ready(channel: LocalChannel) -> None:
    def broken() -> list[str]:
        raise RuntimeError

    gateway = Gateway(channel, [SERVICE], not_ready=broken)
    assert _get(gateway, "/readyz").status == 503
    assert _get(gateway, "/metrics").status == 404


def test_the_same_answers_come_over_a_socket(
    contract: Any, servicer: Any, gateway: Gateway
) -> None:
    server = grpc.server(ThreadPoolExecutor(2))
    contract.services.add_LibraryServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        remote = Gateway(channel, [SERVICE])
        for target in (
            "/v1/books/b1?requestId=r",
            "/v1/fail/5?how=no",
            "/v1/fail/10",
            "/v1/books?x=1",
        ):
            near, far = _get(gateway, target), _get(remote, target)
            assert (near.status, near.body) == (far.status, far.body)
        watched = _get(remote, "/v1/books:watch?count=3&failAfter=2")
        assert _lines(watched)[:2] == _lines(_get(gateway, "/v1/books:watch?count=2"))
        sent = json.loads(_get(remote, "/v1/headers").body)["headers"]
        assert sent["x-request-id"]
    server.stop(0).wait()


def test_a_part_that_is_gone_is_told_without_its_address() -> None:
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        answer = _get(Gateway(channel, [SERVICE]), "/v1/books/b1")
    assert answer.status == 503
    assert b"127.0.0.1" not in answer.body


def test_a_gateway_works_from_a_pool_of_its_own(contract: Any, channel: LocalChannel) -> None:
    pool = descriptor_pool.DescriptorPool()
    todo, done = [contract.messages.DESCRIPTOR], set()
    while todo:
        file = todo[-1]
        missing = [each for each in file.dependencies if each.name not in done]
        if missing:
            todo += missing
            continue
        todo.pop()
        if file.name not in done:
            done.add(file.name)
            pool.AddSerializedFile(file.serialized_pb)
    gateway = Gateway(channel, [SERVICE], pool=pool)
    assert json.loads(_get(gateway, "/v1/books/b1").body)["name"] == "b1"


def _service(**http: Any) -> descriptor_pool.DescriptorPool:
    """A service with one rpc that carries one rule."""
    from google.api import annotations_pb2, http_pb2

    file = descriptor_pb2.FileDescriptorProto(name="one.proto", package="one", syntax="proto3")
    message = file.message_type.add(name="Ask")
    message.field.add(name="name", number=1, type="TYPE_STRING", label="LABEL_OPTIONAL")
    message.field.add(
        name="inner", number=2, type="TYPE_MESSAGE", type_name=".one.Ask", label="LABEL_OPTIONAL"
    )
    method = file.service.add(name="One").method.add(
        name="Do", input_type=".one.Ask", output_type=".one.Ask"
    )
    method.options.Extensions[annotations_pb2.http].CopyFrom(http_pb2.HttpRule(**http))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


@pytest.mark.parametrize(
    ("http", "why"),
    [
        ({"get": "v1/x"}, "does not begin"),
        ({"get": "/v1/{nope}"}, "no field 'nope'"),
        ({"get": "/v1/{name.x}"}, "no field 'name.x'"),
        ({"get": "/v1/{inner}"}, "cannot be given as text"),
        ({"post": "/v1/x", "body": "nope"}, "no field 'nope'"),
        ({"get": "/v1/x", "response_body": "nope"}, "no field 'nope'"),
        ({"post": "/v1/x", "body": "inner.name"}, "not 'inner.name'"),
        ({"body": "*"}, "without a path"),
        (
            {"get": "/v1/{name}", "additional_bindings": [{"get": "/v1/{inner.name}"}]},
            "has the same method and path",
        ),
    ],
)
def test_a_rule_that_does_not_fit_stops_the_start_by_name(http: Any, why: str) -> None:
    with pytest.raises(RuleError, match=re.escape(why)) as refused:
        Gateway(LocalChannel(), ["one.One"], pool=_service(**http))
    assert "one.One.Do" in str(refused.value)


def test_an_unknown_service_stops_the_start_by_name() -> None:
    with pytest.raises(LookupError, match=re.escape("nobody.v1.Nothing")):
        Gateway(LocalChannel(), ["nobody.v1.Nothing"])
