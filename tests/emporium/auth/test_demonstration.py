from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import jwt
import pytest
from commerce.auth.v1.auth_service_pb2 import LogInRequest, RegisterRequest
from commerce.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from commerce.users.v1.users_service_pb2 import GetUserRequest
from commerce.users.v1.users_service_pb2_grpc import UsersServiceStub
from pydantic import SecretStr
from sqlalchemy import text

from emporium.auth.module import module as auth
from emporium.users.module import module as users
from portico.app import Application
from portico.errors import StatusError
from portico.testing.harness import Harness

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL

    from emporium.auth.settings import AuthSettings

MIGRATIONS = Path(__file__).parents[3] / "migrations"
APPLICATION = Application(name="demonstrated", modules=[auth, users], migrations=MIGRATIONS)

ACCOUNTS = [
    ("demo@example.com", "demo-password", "usr_8923a10f", "customer"),
    ("admin@example.com", "admin-password", "usr_admin", "admin"),
    ("business@example.com", "business-password", "usr_business", "business"),
]


def started(url: URL, cheap: AuthSettings) -> Harness:
    chosen = {
        "database_url": SecretStr(url.render_as_string(hide_password=False)),
        "auth": cheap,
        "demo": True,
    }
    return Harness(APPLICATION, APPLICATION.settings_class().model_validate(chosen))


@pytest.fixture(scope="module")
def demonstrated(url: URL, cheap: AuthSettings) -> Iterator[Harness]:
    """The second start: the demonstration has been loaded before."""
    with started(url, cheap):
        pass
    with started(url, cheap) as harness:
        yield harness


@pytest.mark.parametrize(("email", "password", "user_id", "role"), ACCOUNTS)
def test_each_account_logs_in_with_its_role(
    demonstrated: Harness, email: str, password: str, user_id: str, role: str
) -> None:
    answer = demonstrated.stub(AuthServiceStub, "local").LogIn(
        LogInRequest(email=email, password=password)
    )
    assert answer.user_id == user_id
    claims = jwt.decode(answer.access_token, options={"verify_signature": False})
    assert (claims["sub"], claims["roles"]) == (user_id, [role])


@pytest.mark.parametrize(("email", "password", "user_id", "role"), ACCOUNTS)
def test_each_account_has_its_user(
    demonstrated: Harness, email: str, password: str, user_id: str, role: str
) -> None:
    stub = demonstrated.stub(UsersServiceStub, "local", user=user_id, roles=[role])
    assert stub.GetUser(GetUserRequest(user_id=user_id)).email == email


def test_starting_again_makes_and_tells_nothing_new(demonstrated: Harness) -> None:
    assert demonstrated.program.storage is not None
    with demonstrated.program.storage._databases["auth"].reading() as session:
        counts = (
            "SELECT (SELECT count(*) FROM auth.credentials), (SELECT count(*) FROM auth.outbox)"
        )
        assert tuple(session.execute(text(counts)).one()) == (3, 3)


def test_nobody_can_take_a_demonstration_email(demonstrated: Harness) -> None:
    with pytest.raises(StatusError) as error:
        demonstrated.stub(AuthServiceStub, "local").Register(
            RegisterRequest(email="Demo@Example.com", password="demo-password", display_name="D")
        )
    assert error.value.reason == "EMAIL_TAKEN"
