"""The comparison itself: it sees what differs, down to one field."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as stubs

from portico.errors import StatusError
from portico.testing import parity

UNUSED: Any = lambda *_: None  # noqa: E731  # of whatever type a method has


class Servicer(stubs.GreeterServiceServicer):
    """Answers otherwise when it is called in its own process: what a kernel must not do."""

    def __init__(self, *, planted: str) -> None:
        self._planted = planted

    def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
        local = context.peer().startswith("inproc")
        if self._planted == "trailers":
            context.set_trailing_metadata((("key", "local" if local else "remote"),))
        if self._planted == "code":
            context.abort(
                grpc.StatusCode.ABORTED if local else grpc.StatusCode.NOT_FOUND, "the same"
            )
        return pb.SayHelloResponse(
            message="near" if local and self._planted == "message" else "far"
        )

    Repeat = Gather = Chat = UNUSED


def script(channel: grpc.Channel) -> Any:
    def call() -> Any:
        response, call = stubs.GreeterServiceStub(channel).SayHello.with_call(pb.SayHelloRequest())
        return {"message": response.message, **parity.ended(call)}

    return parity.told(call)


@pytest.mark.parametrize(
    ("planted", "path"),
    [("message", "value.message"), ("trailers", "value.trailing[0]"), ("code", "code")],
)
def test_a_planted_difference_is_found_where_it_is(planted: str, path: str) -> None:
    found = parity.outcomes(
        lambda registrar: stubs.add_GreeterServiceServicer_to_server(
            Servicer(planted=planted), registrar
        ),
        script,
    )

    differences = parity.differences(found)

    assert [line.partition(":")[0] for line in differences] == [path]


def test_no_difference_is_found_where_there_is_none() -> None:
    found = parity.outcomes(
        lambda registrar: stubs.add_GreeterServiceServicer_to_server(
            Servicer(planted=""), registrar
        ),
        script,
    )

    assert parity.differences(found) == []
    assert set(found) == set(parity.EVERY)


def test_a_field_that_one_outcome_lacks_is_a_difference() -> None:
    assert parity.differences({"local": {"a": []}, "remote": {"a": [1]}}) == [
        "a: local [], remote '(nothing)'",
        "a[0]: local '(nothing)', remote 1",
    ]


def test_types_are_compared_too() -> None:
    assert parity.differences({"local": {"a": b"1"}, "remote": {"a": "1"}})


def test_ids_of_errors_do_not_count() -> None:
    first, second = (
        parity.failure(StatusError(grpc.StatusCode.INTERNAL, f"id {number:016x}"))
        for number in (1, 2)
    )

    assert first == second
