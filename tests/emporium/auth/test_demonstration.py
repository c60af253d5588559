from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import jwt
import pytest
from commerce.auth.v1.auth_service_pb2 import LogInRequest, RefreshRequest, RegisterRequest
from commerce.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from commerce.users.v1.users_service_pb2 import GetUserRequest
from commerce.users.v1.users_service_pb2_grpc import UsersServiceStub
from pydantic import SecretStr
from sqlalchemy import text

from emporium.auth.module import module as auth
from emporium.auth.published import USER_IDS
from emporium.users.module import module as users
from portico.app import Application
from portico.clock import SystemClock
from portico.errors import StatusError
from portico.ids import Ids
from portico.testing.harness import Harness

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL

    from emporium.auth.settings import AuthSettings
    from portico.testing.servers import Databases

MIGRATIONS = Path(__file__).parents[3] / "migrations"
APPLICATION = Application(name="demonstrated", modules=[auth, users], migrations=MIGRATIONS)

ACCOUNTS = [
    ("demo@example.com", "demo-password", "usr_8923a10f", "customer"),
    ("admin@example.com", "admin-password", "usr_admin", "admin"),
    ("business@example.com", "business-password", "usr_business", "business"),
]


WARNING = "accounts of the demonstration are in this database"


def started(url: URL, cheap: AuthSettings, *, demo: bool = True) -> Harness:
    chosen = {
        "database_url": SecretStr(url.render_as_string(hide_password=False)),
        "auth": cheap,
        "demo": demo,
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


# Without the demonstration, on a database that had it


@pytest.fixture(scope="module")
def left_over(databases: Databases, cheap: AuthSettings) -> Iterator[tuple[URL, str]]:
    """A database where the demonstration has been, and a refresh token of its administrator."""
    url = databases.migrated(["users", "auth"], folder=MIGRATIONS)
    with started(url, cheap) as harness:
        token = administrator(harness)
    yield url, token
    databases.drop(url)


def administrator(harness: Harness) -> str:
    """Log in; the answer is a refresh token."""
    request = LogInRequest(email="admin@example.com", password="admin-password")
    return harness.stub(AuthServiceStub, "local").LogIn(request).refresh_token


def refreshed(harness: Harness, token: str) -> str:
    stub = harness.stub(AuthServiceStub, "local")
    return stub.Refresh(RefreshRequest(refresh_token=token)).refresh_token


def told(error: pytest.ExceptionInfo[StatusError]) -> tuple[str, str, str]:
    return error.value.reason, error.value.message, str(error.value.metadata)


@pytest.mark.parametrize(("email", "password", "user_id", "role"), ACCOUNTS)
def test_without_the_demonstration_a_published_password_is_a_wrong_one(
    left_over: tuple[URL, str],
    cheap: AuthSettings,
    email: str,
    password: str,
    user_id: str,
    role: str,
) -> None:
    url, _ = left_over
    with started(url, cheap, demo=False) as harness:
        stub = harness.stub(AuthServiceStub, "local")
        answers = []
        for wrong in (password, "wrong-password"):
            with pytest.raises(StatusError) as error:
                stub.LogIn(LogInRequest(email=email, password=wrong))
            answers.append(told(error))
        with pytest.raises(StatusError) as error:
            stub.LogIn(LogInRequest(email=f"not-{email}", password=password))
    assert answers == [told(error)] * 2
    assert error.value.reason == "CREDENTIALS_INVALID"


def test_without_the_demonstration_its_sessions_rest_and_with_it_they_go_on(
    left_over: tuple[URL, str], cheap: AuthSettings
) -> None:
    url, token = left_over
    with started(url, cheap) as harness:
        newest = refreshed(harness, token)
    with started(url, cheap, demo=False) as harness:
        answers = []
        for refused in (newest, token, "nobody's"):  # one that was spent before is no theft either
            with pytest.raises(StatusError) as error:
                refreshed(harness, refused)
            answers.append(told(error))
        assert answers == [answers[0]] * 3
        assert answers[0][0] == "REFRESH_TOKEN_INVALID"
    with started(url, cheap) as harness:
        assert refreshed(harness, newest)
        assert administrator(harness)


def test_without_the_demonstration_other_accounts_are_let_in(
    left_over: tuple[URL, str], cheap: AuthSettings
) -> None:
    url, _ = left_over
    request = RegisterRequest(email="own@example.com", password="own-password", display_name="O")
    with started(url, cheap, demo=False) as harness:
        assert refreshed(
            harness, harness.stub(AuthServiceStub, "local").Register(request).refresh_token
        )


def test_accounts_left_over_are_told_once_at_start_without_the_demonstration_and_not_with_it(
    left_over: tuple[URL, str], cheap: AuthSettings, capfd: pytest.CaptureFixture[str]
) -> None:
    url, _ = left_over
    for demo, warnings in ((False, 1), (True, 0)):
        with started(url, cheap, demo=demo):
            pass
        told_at_start = capfd.readouterr().err
        assert told_at_start.count(WARNING) == warnings
        assert told_at_start.count("usr_admin") == warnings


def test_a_database_that_never_had_the_demonstration_gives_no_warning(
    databases: Databases, cheap: AuthSettings, capfd: pytest.CaptureFixture[str]
) -> None:
    url = databases.migrated(["users", "auth"], folder=MIGRATIONS)
    with started(url, cheap, demo=False):
        pass
    databases.drop(url)
    assert WARNING not in capfd.readouterr().err


def test_no_sign_up_gives_an_identifier_of_the_demonstration() -> None:
    ids = Ids(clock=SystemClock())
    longest = max(len(user_id) for user_id in USER_IDS)
    assert len(ids.new("usr")) > longest
    assert {account[2] for account in ACCOUNTS} == USER_IDS
