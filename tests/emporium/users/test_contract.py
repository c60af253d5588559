from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest
from commerce.users.v1.users_service_pb2 import CreateUserRequest, EraseUserRequest, GetUserRequest
from commerce.users.v1.users_service_pb2_grpc import UsersServiceStub
from sqlalchemy import text

from portico.errors import StatusError
from portico.testing.harness import TRANSPORTS, Harness, Transport

if TYPE_CHECKING:
    from commerce.users.v1.user_pb2 import User

    from portico.clock import ManualClock
    from portico.data import Database

_numbers = count(1)


class Caller:
    """The users service as one caller of one transport sees it."""

    def __init__(self, harness: Harness, over: Transport) -> None:
        self.over = over
        self._harness = harness
        self.auth = harness.stub(UsersServiceStub, over, caller="auth")

    def signed_in(self, user: str, *roles: str) -> UsersServiceStub:
        return self._harness.stub(UsersServiceStub, self.over, user=user, roles=roles)

    def create(self, **changes: str) -> User:
        return self.auth.CreateUser(request(**changes)).user

    def get(self, user_id: str) -> User:
        return self.signed_in("usr_root", "admin").GetUser(GetUserRequest(user_id=user_id))


def request(**changes: str) -> CreateUserRequest:
    number = next(_numbers)
    whole = {
        "user_id": f"usr_c{number}",
        "email": f"c{number}@example.com",
        "display_name": "Some Body",
        "request_id": f"c-{number}",
    }
    return CreateUserRequest(**whole | changes)


@pytest.fixture(params=TRANSPORTS)
def caller(harness: Harness, request: pytest.FixtureRequest) -> Caller:
    return Caller(harness, request.param)


def refused(error: pytest.ExceptionInfo[StatusError]) -> tuple[str, str, str]:
    return error.value.code().name, error.value.reason, error.value.domain


def test_a_created_user_can_be_read(caller: Caller, clock: ManualClock) -> None:
    made = caller.create(email="Ann.B@Example.COM", display_name="Ann B")
    assert (made.email, made.display_name) == ("ann.b@example.com", "Ann B")
    assert made.created_at.ToDatetime(clock.now().tzinfo) == clock.now()
    assert caller.get(made.user_id) == made
    caller.auth.EraseUser(EraseUserRequest(user_id=made.user_id))


def test_a_repeat_answers_with_the_same_user_and_makes_no_other(
    caller: Caller, clock: ManualClock, database: Database
) -> None:
    asked = request()
    first = caller.auth.CreateUser(asked)
    clock.advance(seconds=60)
    assert caller.auth.CreateUser(asked) == first
    assert published(database, asked.user_id) == ["UserCreated"]


def test_a_request_id_with_other_content_is_refused(caller: Caller) -> None:
    asked = request()
    caller.auth.CreateUser(asked)
    asked.display_name = "Another"
    with pytest.raises(StatusError) as error:
        caller.auth.CreateUser(asked)
    assert refused(error) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED", "commerce.users.v1")
    assert error.value.metadata == {"request_id": asked.request_id}


def test_a_user_id_is_given_once(caller: Caller) -> None:
    made = caller.create()
    with pytest.raises(StatusError) as error:
        caller.create(user_id=made.user_id)
    assert refused(error) == ("ALREADY_EXISTS", "USER_EXISTS", "commerce.users.v1")
    assert error.value.metadata == {"user_id": made.user_id}


def test_an_email_belongs_to_one_user_whatever_the_case(caller: Caller) -> None:
    made = caller.create()
    with pytest.raises(StatusError) as error:
        caller.create(email=made.email.upper())
    assert refused(error) == ("ALREADY_EXISTS", "EMAIL_TAKEN", "commerce.users.v1")
    assert made.email not in str(error.value)


def test_users_read_themselves(caller: Caller) -> None:
    made = caller.create()
    itself = caller.signed_in(made.user_id, "customer")
    assert itself.GetUser(GetUserRequest(user_id=made.user_id)) == made


def test_somebody_elses_user_looks_like_one_that_is_not_there(caller: Caller) -> None:
    made = caller.create()
    stranger = caller.signed_in("usr_stranger", "customer", "business")
    answers = []
    for user_id in (made.user_id, "usr_nobody"):
        with pytest.raises(StatusError) as error:
            stranger.GetUser(GetUserRequest(user_id=user_id))
        assert error.value.metadata == {"user_id": user_id}
        answers.append((*refused(error), error.value.message))
    assert answers[0] == answers[1]
    assert answers[0][:3] == ("NOT_FOUND", "USER_NOT_FOUND", "commerce.users.v1")


def test_an_erased_user_is_gone_and_erasing_again_says_the_same(
    caller: Caller, database: Database
) -> None:
    made = caller.create()
    for _ in range(2):
        caller.auth.EraseUser(EraseUserRequest(user_id=made.user_id))
        with pytest.raises(StatusError) as error:
            caller.get(made.user_id)
        assert error.value.reason == "USER_NOT_FOUND"
    assert published(database, made.user_id) == ["UserCreated", "UserErased"]


def test_erasing_nobody_is_answered_in_the_same_way_and_tells_nobody(
    caller: Caller, database: Database
) -> None:
    user_id = f"usr_nobody{next(_numbers)}"
    for _ in range(2):
        caller.auth.EraseUser(EraseUserRequest(user_id=user_id))
    assert published(database, user_id) == []


@pytest.mark.parametrize("over", ["local", "socket"])
def test_making_and_erasing_users_is_nothing_for_clients(harness: Harness, over: Transport) -> None:
    client = harness.stub(UsersServiceStub, over, user="usr_root", roles=["admin"])
    with pytest.raises(StatusError) as error:
        client.CreateUser(request())
    assert error.value.code().name == "PERMISSION_DENIED"
    with pytest.raises(StatusError) as error:
        client.EraseUser(EraseUserRequest(user_id="usr_1"))
    assert error.value.code().name == "PERMISSION_DENIED"


@pytest.mark.parametrize("over", ["local", "socket"])
def test_reading_a_user_needs_a_sign_in(harness: Harness, over: Transport) -> None:
    with pytest.raises(StatusError) as error:
        harness.stub(UsersServiceStub, over).GetUser(GetUserRequest(user_id="usr_1"))
    assert error.value.code().name == "UNAUTHENTICATED"


@pytest.mark.parametrize("over", ["local", "socket"])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("user_id", ""),
        ("user_id", "ann"),
        ("user_id", "usr_" + "x" * 61),
        ("email", ""),
        ("email", "nobody"),
        ("email", "a@" + "b" * 253),
        ("display_name", ""),
        ("display_name", " \u2003 "),
        ("display_name", "a\0b"),
        ("display_name", "x" * 101),
        ("request_id", ""),
        ("request_id", "with space"),
        ("request_id", "x" * 201),
    ],
)
def test_a_malformed_field_is_named(
    harness: Harness, over: Transport, field: str, value: str
) -> None:
    with pytest.raises(StatusError) as error:
        Caller(harness, over).create(**{field: value})
    assert error.value.code().name == "INVALID_ARGUMENT"
    assert {violation.field for violation in error.value.violations} == {field}


def published(database: Database, user_id: str) -> list[str]:
    query = text("SELECT type FROM users.outbox WHERE aggregateid = :user_id ORDER BY sequence")
    with database.reading() as session:
        types = session.execute(query, {"user_id": user_id}).scalars()
        return [name.rpartition(".")[2] for name in types]
