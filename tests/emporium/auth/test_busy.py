"""A crowd at the log-in takes neither the server's threads nor anybody's secret."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from commerce.auth.v1.auth_service_pb2 import GetJwksRequest, LogInRequest, RegisterRequest
from commerce.auth.v1.auth_service_pb2_grpc import AuthServiceStub

from emporium.auth.passwords import Passwords
from emporium.auth.settings import AuthSettings
from portico.errors import StatusError
from portico.settings import Settings

if TYPE_CHECKING:
    from portico.testing.harness import Harness

KNOWN, UNKNOWN = "crowd@example.com", "nobody-in-the-crowd@example.com"
PASSWORD = "crowd-password"
SERVER_THREADS = 8
PATIENCE_SECONDS = 5


def passwords_of(harness: Harness) -> Passwords:
    """Those that the running servicer uses."""
    endpoint = harness.program.registry.find("/commerce.auth.v1.AuthService/LogIn")
    assert endpoint is not None
    found = endpoint.behaviour.__self__._passwords  # type: ignore[attr-defined]  # a bound method
    assert isinstance(found, Passwords)
    return found


def told(stub: AuthServiceStub, email: str, password: str) -> tuple[str, ...]:
    """What a log-in is answered, in every word."""
    try:
        stub.LogIn(LogInRequest(email=email, password=password), timeout=2 * PATIENCE_SECONDS)
    except StatusError as refusal:
        return refusal.code().name, refusal.reason, refusal.message, str(refusal.metadata)
    return ("in",)


def test_a_crowd_that_logs_in_is_refused_at_once_and_everybody_else_is_served(
    harness: Harness, cheap: AuthSettings
) -> None:
    passwords = passwords_of(harness)
    stub = harness.stub(AuthServiceStub, "socket")
    stub.Register(RegisterRequest(email=KNOWN, password=PASSWORD, display_name="One of many"))
    attempts = [(KNOWN, PASSWORD), (UNKNOWN, "wrong-password")] * SERVER_THREADS
    refused = len(attempts) - cheap.waiting_hashes
    with ThreadPoolExecutor(len(attempts)) as crowd, ExitStack() as turns:
        for _ in range(cheap.concurrent_hashes):
            turns.enter_context(passwords.turn())
        answers = [crowd.submit(told, stub, *attempt) for attempt in attempts]
        ended = islice(as_completed(answers, timeout=PATIENCE_SECONDS), refused)
        early = [answer.result() for answer in ended]
        stub.GetJwks(GetJwksRequest(), timeout=PATIENCE_SECONDS)
        waiting = [answer for answer in answers if not answer.done()]
    assert set(early) == {early[0]}
    assert early[0][:2] == ("RESOURCE_EXHAUSTED", "TOO_BUSY")
    assert early[0][3] == "{'retry_after_seconds': '1'}"
    assert len(waiting) == cheap.waiting_hashes
    assert {answer.result()[0] for answer in waiting} <= {"in", "UNAUTHENTICATED"}


def test_the_defaults_leave_either_server_threads_for_others() -> None:
    own, kernel = AuthSettings(), Settings()
    places = own.concurrent_hashes + own.waiting_hashes
    assert places < min(kernel.grpc_threads, kernel.http_threads)


def test_who_signs_up_in_the_crowd_has_not_signed_up(harness: Harness, cheap: AuthSettings) -> None:
    passwords = passwords_of(harness)
    stub = harness.stub(AuthServiceStub, "local")
    request = RegisterRequest(
        email="late@example.com", password=PASSWORD, display_name="Late", request_id="late"
    )
    places = cheap.concurrent_hashes + cheap.waiting_hashes
    for _ in range(places):
        passwords._places.acquire()
    with pytest.raises(StatusError) as error:
        stub.Register(request)
    assert error.value.reason == "TOO_BUSY"
    for _ in range(places):
        passwords._places.release()
    assert stub.Register(request).user_id
