"""Nothing that somebody could log in with, and nothing personal, is found in what is written down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from commerce.auth.v1.auth_service_pb2 import (
    LogInRequest,
    LogOutRequest,
    RefreshRequest,
    RegisterRequest,
)
from commerce.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from commerce.users.v1.users_service_pb2 import EraseUserRequest
from commerce.users.v1.users_service_pb2_grpc import UsersServiceStub
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from portico.errors import StatusError
from portico.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from portico.data import Database
    from portico.testing.harness import Harness

EMAIL, PASSWORD, NAME = "secretive@example.com", "pass-phrase-of-mine", "Sidonie Secret"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """Everything that is logged, at the level that tells most."""
    path = tmp_path / "log"
    with path.open("wb") as file:
        logs.configure(level="debug", format="json", descriptor=file.fileno())
        yield path
    logs.configure(level="warning")


def written(log: Path) -> str:
    return log.read_text()


def test_no_secret_and_no_person_is_in_the_log(harness: Harness, log: Path) -> None:
    auth = harness.stub(AuthServiceStub, "socket")
    secrets = [EMAIL, EMAIL.title(), PASSWORD, NAME]
    request = RegisterRequest(email=EMAIL.title(), password=PASSWORD, display_name=NAME)
    first = auth.Register(request)
    second = auth.Refresh(RefreshRequest(refresh_token=first.refresh_token))
    secrets += [first.access_token, first.refresh_token, second.access_token, second.refresh_token]
    refusals: list[Callable[[], object]] = [
        lambda: auth.Register(request),
        lambda: auth.LogIn(LogInRequest(email=EMAIL, password=PASSWORD + "!")),
        lambda: auth.LogIn(LogInRequest(email=EMAIL + "@", password=PASSWORD)),
        lambda: auth.Refresh(RefreshRequest(refresh_token=first.refresh_token)),
        lambda: auth.Refresh(RefreshRequest(refresh_token=second.refresh_token)),
    ]
    for refuse in refusals:
        with pytest.raises(StatusError):
            refuse()
    auth.LogOut(LogOutRequest(refresh_token=second.refresh_token))
    harness.stub(UsersServiceStub, "socket", caller="auth").EraseUser(
        EraseUserRequest(user_id=first.user_id)
    )
    harness.settle()
    lines = written(log)
    assert "a refresh token came twice" in lines
    assert "AuthService/LogIn" in lines
    assert [secret for secret in secrets if secret in lines] == []


def test_a_fault_of_a_statement_does_not_show_its_values(database: Database, log: Path) -> None:
    statement = text(
        "INSERT INTO auth.credentials (user_id, email, password_hash, roles, created_at)"
        " VALUES ('usr_s', :email, :password_hash, ARRAY['emperor'], now())"
    )
    values = {"email": EMAIL, "password_hash": "$argon2id$" + PASSWORD}
    with pytest.raises(IntegrityError) as error, database.unit_of_work() as session:
        session.execute(statement, values)
    logs.logger("test").error("a fault", exc_info=error.value)
    assert PASSWORD not in written(log)
    assert EMAIL not in written(log)
