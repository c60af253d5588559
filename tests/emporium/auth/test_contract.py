from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import TYPE_CHECKING

import pytest
from commerce.auth.v1.auth_service_pb2 import (
    GetJwksRequest,
    LogInRequest,
    LogInResponse,
    LogOutRequest,
    RefreshRequest,
    RegisterRequest,
    RegisterResponse,
)
from commerce.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from commerce.users.v1.users_service_pb2 import CreateUserRequest, EraseUserRequest, GetUserRequest
from commerce.users.v1.users_service_pb2_grpc import UsersServiceStub
from sqlalchemy import text

from portico.context import Identity
from portico.errors import StatusError
from portico.security.keys import public_keys
from portico.security.tokens import TokenAuthenticator
from portico.testing.harness import TRANSPORTS, Harness, Transport

if TYPE_CHECKING:
    from commerce.users.v1.user_pb2 import User

    from portico.clock import ManualClock
    from portico.data import Database

PASSWORD = "correct horse battery"
DOMAIN = "commerce.auth.v1"

_numbers = count(1)


class Client:
    """Somebody without an account yet, over one transport."""

    def __init__(self, harness: Harness, over: Transport, clock: ManualClock) -> None:
        self.number = next(_numbers)
        self.email = f"Client{self.number}@Example.com"
        self.clock = clock
        self.auth = harness.stub(AuthServiceStub, over)
        self.users = harness.stub(UsersServiceStub, over, caller="auth")
        self._administrator = harness.stub(UsersServiceStub, over, user="usr_root", roles=["admin"])

    def request(self, **changes: str) -> RegisterRequest:
        whole = {"email": self.email, "password": PASSWORD, "display_name": "A Client"}
        return RegisterRequest(**whole | changes)

    def register(self, **changes: str) -> RegisterResponse:
        return self.auth.Register(self.request(**changes))

    def log_in(self, *, email: str = "", password: str = PASSWORD) -> LogInResponse:
        return self.auth.LogIn(LogInRequest(email=email or self.email, password=password))

    def identity(self, access_token: str) -> Identity:
        keys = public_keys(self.auth.GetJwks(GetJwksRequest()).keys)
        check = TokenAuthenticator(keys=lambda: keys, issuer="emporium", clock=self.clock)
        return check(f"Bearer {access_token}")

    def user(self, user_id: str) -> User:
        return self._administrator.GetUser(GetUserRequest(user_id=user_id))


@pytest.fixture(params=TRANSPORTS)
def client(harness: Harness, clock: ManualClock, request: pytest.FixtureRequest) -> Client:
    return Client(harness, request.param, clock)


def told(error: pytest.ExceptionInfo[StatusError]) -> tuple[str, str, str]:
    return error.value.code().name, error.value.reason, error.value.domain


# Register


def test_who_registers_is_a_customer_and_logged_in(client: Client, database: Database) -> None:
    answer = client.register(display_name="Ann B")
    assert client.identity(answer.access_token) == Identity(answer.user_id, frozenset({"customer"}))
    assert answer.expires_in == 900
    user = client.user(answer.user_id)
    assert (user.email, user.display_name) == (client.email.lower(), "Ann B")
    assert answer.user_id.startswith("usr_")
    assert published(database, answer.user_id) == ["UserRegistered"]


def test_an_email_has_one_account_whatever_the_case(client: Client) -> None:
    client.register()
    with pytest.raises(StatusError) as error:
        client.register(email=client.email.upper())
    assert told(error) == ("ALREADY_EXISTS", "EMAIL_TAKEN", DOMAIN)
    assert client.email.lower() not in str(error.value).lower()


def test_the_same_request_again_gives_the_same_account_and_fresh_tokens(
    client: Client, database: Database
) -> None:
    request = client.request(request_id=f"r-{client.number}")
    first, again = client.auth.Register(request), client.auth.Register(request)
    assert again.user_id == first.user_id
    assert again.refresh_token != first.refresh_token
    assert client.identity(again.access_token).subject == first.user_id
    assert published(database, first.user_id) == ["UserRegistered"]


def test_the_longest_request_id_that_is_accepted_is_carried_through(client: Client) -> None:
    request_id = f"{client.number}-".ljust(128, "~")
    assert (
        client.register(request_id=request_id).user_id
        == client.register(request_id=request_id).user_id
    )


@pytest.mark.parametrize(
    "changes",
    [{"display_name": "Another"}, {"password": "another password"}, {"email": "an@other.example"}],
)
def test_a_request_id_with_other_content_is_refused(
    client: Client, changes: dict[str, str]
) -> None:
    request_id = f"o-{client.number}"
    client.register(request_id=request_id)
    with pytest.raises(StatusError) as error:
        client.register(request_id=request_id, **changes)
    assert told(error) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED", DOMAIN)
    assert error.value.metadata == {"request_id": request_id}


def test_a_request_id_is_no_way_to_guess_a_password(client: Client) -> None:
    request_id = f"g-{client.number}"
    client.register(request_id=request_id)
    reasons = []
    for _ in range(4):
        with pytest.raises(StatusError) as error:
            client.register(request_id=request_id, password="guess after guess")
        reasons.append(error.value.reason)
    assert reasons == ["REQUEST_ID_REUSED"] * 3 + ["TOO_MANY_ATTEMPTS"]


def test_of_equal_requests_at_once_all_get_the_same_account(client: Client) -> None:
    request = client.request(request_id=f"e-{client.number}")
    start = threading.Barrier(4)  # one makes it, and the others may show their password at once

    def attempt(_: int) -> str:
        start.wait()
        return client.auth.Register(request).user_id

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(attempt, range(4)))) == 1


def test_of_equal_requests_without_an_id_at_once_one_makes_the_account(client: Client) -> None:
    start = threading.Barrier(6)

    def attempt(_: int) -> str:
        start.wait()
        try:
            return client.register().user_id
        except StatusError as refusal:
            return refusal.reason

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(attempt, range(6)))
    assert answers.count("EMAIL_TAKEN") == 5


def test_without_a_user_there_is_no_account_either(client: Client, database: Database) -> None:
    other = f"usr_other{client.number}"
    client.users.CreateUser(
        CreateUserRequest(user_id=other, email=client.email, display_name="Other", request_id=other)
    )
    with pytest.raises(StatusError) as error:
        client.register()
    assert told(error) == ("ALREADY_EXISTS", "EMAIL_TAKEN", "commerce.users.v1")
    accounts = text("SELECT count(*) FROM auth.credentials WHERE email = :email")
    with database.reading() as session:
        assert session.execute(accounts, {"email": client.email.lower()}).scalar_one() == 0


@pytest.mark.parametrize("password", ["e\u0301" * 7, "\ufdfa" * 8])
def test_a_password_that_has_the_wrong_length_in_normal_form_is_refused(
    client: Client, password: str
) -> None:
    with pytest.raises(StatusError) as error:
        client.register(password=password)
    assert told(error) == ("INVALID_ARGUMENT", "PASSWORD_LENGTH", DOMAIN)
    assert [violation.field for violation in error.value.violations] == ["password"]
    assert password not in str(error.value)


@pytest.mark.parametrize("over", ["local", "socket"])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", ""),
        ("email", "nobody"),
        ("email", "a\0@example.com"),
        ("email", "a@" + "b" * 253),
        ("password", ""),
        ("password", "1234567"),
        ("password", "x" * 129),
        ("display_name", ""),
        ("display_name", "\u3000"),
        ("display_name", "a\nb"),
        ("display_name", "x" * 101),
        ("request_id", "with space"),
        ("request_id", "x" * 129),
    ],
)
def test_a_malformed_field_is_named(
    harness: Harness, clock: ManualClock, over: Transport, field: str, value: str
) -> None:
    with pytest.raises(StatusError) as error:
        Client(harness, over, clock).register(**{field: value})
    assert error.value.code().name == "INVALID_ARGUMENT"
    assert {violation.field for violation in error.value.violations} == {field}
    assert PASSWORD not in str(error.value)


# LogIn


def test_the_email_logs_in_in_any_case_and_the_password_in_any_composition(client: Client) -> None:
    made = client.register(password="cafe\u0301 \u2460 olé")
    answer = client.log_in(email=client.email.upper(), password="caf\u00e9 1 ole\u0301")
    assert answer.user_id == made.user_id
    assert answer.expires_in == 900
    assert client.identity(answer.access_token).roles == {"customer"}


def test_an_unknown_email_and_a_wrong_password_are_told_in_the_same_words(client: Client) -> None:
    client.register()
    answers = []
    for email, password in ((client.email, "wrong password"), (f"x{client.email}", PASSWORD)):
        with pytest.raises(StatusError) as error:
            client.log_in(email=email, password=password)
        answers.append((*told(error), error.value.message, error.value.metadata))
    assert answers[0] == answers[1]
    assert answers[0][:3] == ("UNAUTHENTICATED", "CREDENTIALS_INVALID", DOMAIN)


@pytest.mark.parametrize("password", ["x", "\0", "x" * 128, "\ufdfa" * 128, PASSWORD + " "])
def test_any_other_password_is_a_wrong_one(client: Client, password: str) -> None:
    client.register()
    with pytest.raises(StatusError) as error:
        client.log_in(password=password)
    assert error.value.reason == "CREDENTIALS_INVALID"


@pytest.mark.parametrize("registered", [True, False])
def test_an_email_is_locked_for_a_while_after_too_many_wrong_passwords(
    client: Client,
    registered: bool,
) -> None:
    if registered:
        client.register()
    reasons = []
    for _ in range(4):
        with pytest.raises(StatusError) as error:
            client.log_in(password="wrong password")
        reasons.append(error.value.reason)
    assert reasons == ["CREDENTIALS_INVALID"] * 3 + ["TOO_MANY_ATTEMPTS"]
    assert told(error) == ("RESOURCE_EXHAUSTED", "TOO_MANY_ATTEMPTS", DOMAIN)
    assert error.value.metadata == {"retry_after_seconds": "60"}
    client.clock.advance(seconds=60)
    if registered:
        client.log_in()


def test_a_locked_email_ends_no_session(client: Client) -> None:
    answer = client.register()
    for _ in range(4):
        with pytest.raises(StatusError):
            client.log_in(password="wrong password")
    client.auth.Refresh(RefreshRequest(refresh_token=answer.refresh_token))


@pytest.mark.parametrize("over", ["local", "socket"])
@pytest.mark.parametrize(
    ("field", "email", "password"),
    [
        ("email", "", PASSWORD),
        ("email", "nobody", PASSWORD),
        ("email", "a@b.example\0", PASSWORD),
        ("password", "a@b.example", ""),
        ("password", "a@b.example", "x" * 129),
    ],
)
def test_a_malformed_log_in_names_the_field(  # three of them are fixtures
    harness: Harness, over: Transport, field: str, email: str, password: str, clock: ManualClock
) -> None:
    stub = Client(harness, over, clock).auth
    with pytest.raises(StatusError) as error:
        stub.LogIn(LogInRequest(email=email, password=password))
    assert error.value.code().name == "INVALID_ARGUMENT"
    assert {violation.field for violation in error.value.violations} == {field}


# Refresh and LogOut


def test_a_refresh_gives_a_new_pair_for_the_same_user(client: Client) -> None:
    first = client.register()
    client.clock.advance(seconds=1)
    answer = client.auth.Refresh(RefreshRequest(refresh_token=first.refresh_token))
    assert answer.user_id == first.user_id
    assert answer.refresh_token != first.refresh_token
    assert answer.access_token != first.access_token
    assert client.identity(answer.access_token) == client.identity(first.access_token)


def test_a_refresh_token_that_comes_twice_ends_the_family(client: Client) -> None:
    first = client.register()
    second = client.auth.Refresh(RefreshRequest(refresh_token=first.refresh_token))
    with pytest.raises(StatusError) as error:
        client.auth.Refresh(RefreshRequest(refresh_token=first.refresh_token))
    assert told(error) == ("UNAUTHENTICATED", "REFRESH_TOKEN_REUSED", DOMAIN)
    with pytest.raises(StatusError) as error:
        client.auth.Refresh(RefreshRequest(refresh_token=second.refresh_token))
    assert told(error) == ("UNAUTHENTICATED", "REFRESH_TOKEN_INVALID", DOMAIN)
    client.log_in()


def test_logging_out_ends_the_family_and_says_the_same_again_and_to_anybody(
    client: Client,
) -> None:
    answer, elsewhere = client.register(), client.log_in()
    for token in (answer.refresh_token, answer.refresh_token, "nobody's"):
        client.auth.LogOut(LogOutRequest(refresh_token=token))
    with pytest.raises(StatusError) as error:
        client.auth.Refresh(RefreshRequest(refresh_token=answer.refresh_token))
    assert error.value.reason == "REFRESH_TOKEN_INVALID"
    client.auth.Refresh(RefreshRequest(refresh_token=elsewhere.refresh_token))


@pytest.mark.parametrize("over", ["local", "socket"])
@pytest.mark.parametrize("token", ["", "x" * 513])
def test_what_cannot_be_a_token_is_refused_by_name(
    harness: Harness, over: Transport, token: str
) -> None:
    auth = harness.stub(AuthServiceStub, over)
    with pytest.raises(StatusError) as error:
        auth.Refresh(RefreshRequest(refresh_token=token))
    assert [violation.field for violation in error.value.violations] == ["refresh_token"]
    with pytest.raises(StatusError) as error:
        auth.LogOut(LogOutRequest(refresh_token=token))
    assert [violation.field for violation in error.value.violations] == ["refresh_token"]


# GetJwks


def test_the_key_set_is_the_standards(client: Client) -> None:
    (key,) = client.auth.GetJwks(GetJwksRequest()).keys
    assert (key.kty, key.crv, key.use, key.alg) == ("OKP", "Ed25519", "sig", "EdDSA")
    assert (len(key.x), len(key.kid)) == (43, 43)


# After erasure


def test_an_erased_user_is_locked_out_and_the_email_is_free_again(
    client: Client, harness: Harness
) -> None:
    answer = client.register(request_id=f"x-{client.number}")
    client.users.EraseUser(EraseUserRequest(user_id=answer.user_id))
    harness.settle()
    with pytest.raises(StatusError) as error:
        client.log_in()
    assert error.value.reason == "CREDENTIALS_INVALID"
    with pytest.raises(StatusError) as error:
        client.auth.Refresh(RefreshRequest(refresh_token=answer.refresh_token))
    assert error.value.reason == "REFRESH_TOKEN_INVALID"
    assert client.register(request_id=f"x-{client.number}").user_id != answer.user_id


def published(database: Database, user_id: str) -> list[str]:
    query = text("SELECT type FROM auth.outbox WHERE aggregateid = :user_id ORDER BY sequence")
    with database.reading() as session:
        types = session.execute(query, {"user_id": user_id}).scalars()
        return [name.rpartition(".")[2] for name in types]
