"""What a client hears when the processes of an application do not fit together."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as stubs

from portico.errors import StatusError, unauthenticated
from portico.rpc.local import LocalChannel


def ask(error: StatusError) -> StatusError:
    def say_hello(_self: Any, _request: pb.SayHelloRequest, _context: Any) -> pb.SayHelloResponse:
        raise error

    greeter: Any = type("Greeter", (stubs.GreeterServiceServicer,), {"SayHello": say_hello})
    channel: Any = LocalChannel()
    stubs.add_GreeterServiceServicer_to_server(greeter(), channel)
    with pytest.raises(StatusError) as failed:
        stubs.GreeterServiceStub(channel).SayHello(pb.SayHelloRequest())
    return failed.value


def from_elsewhere(reason: str) -> StatusError:
    return StatusError(
        grpc.StatusCode.UNAUTHENTICATED, "as it came", reason=reason, domain="commerce.payments.v1"
    )


@pytest.mark.parametrize(
    "reason", ["PASSPORT_INVALID", "CALLER_NOT_ALLOWED", "CALLER_NOT_CERTIFIED"]
)
def test_a_process_that_another_does_not_know_is_a_fault_of_ours(reason: str) -> None:
    heard = ask(from_elsewhere(reason))

    assert (heard.code(), heard.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "as it came" not in heard.message


def test_other_refusals_of_another_process_reach_the_client() -> None:
    heard = ask(from_elsewhere("SIGN_IN_REQUIRED"))

    assert (heard.code(), heard.message) == (grpc.StatusCode.UNAUTHENTICATED, "as it came")


def test_a_passport_that_this_process_refuses_is_told_to_whoever_sent_it() -> None:
    heard = ask(unauthenticated("PASSPORT_INVALID", "not one of ours"))

    assert (heard.code(), heard.reason) == (grpc.StatusCode.UNAUTHENTICATED, "PASSPORT_INVALID")
