"""Signing up where users live elsewhere: its command has a transaction of its own, and may fail."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from commerce.auth.v1.auth_service_pb2 import LogInRequest
from commerce.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from commerce.users.v1.users_service_pb2 import EraseUserRequest, GetUserRequest
from commerce.users.v1.users_service_pb2_grpc import UsersServiceStub
from sqlalchemy import text

from emporium.auth.model import SignUp
from emporium.auth.passwords import Passwords
from emporium.auth.settings import AuthSettings
from emporium.auth.store import accounts
from emporium.auth.workflows import SignUpWorkflow
from portico import errors
from portico.clock import ManualClock
from portico.context import Call, StepMark, current, entered, root
from portico.data import Database
from portico.errors import StatusError
from portico.events import Doorbell, Events
from portico.ids import Ids
from portico.testing.harness import Harness
from portico.workflow import Recovery, Workflows, WorkflowSettings

Fault = Callable[[Callable[[], Any]], Any]
SETTINGS = WorkflowSettings(step_delay_seconds=0.002)
PASSWORD = "correct horse"  # of nobody
_numbers = count(1)


class Killed(KeyboardInterrupt):
    """What stands in for the end of the process."""


def killed(_: Callable[[], Any]) -> Any:
    raise Killed


def killed_after(call: Callable[[], Any]) -> Any:
    call()
    raise Killed


def lost(call: Callable[[], Any]) -> Any:
    call()
    raise errors.unavailable("", "the answer was lost")


def down(_: Callable[[], Any]) -> Any:
    raise errors.unavailable("", "cannot be reached")


class Users:
    """The stub of users, whose next calls meet ``faults``."""

    def __init__(self, stub: UsersServiceStub) -> None:
        self._stub = stub
        self.faults: list[Fault] = []

    def CreateUser(self, request: Any) -> Any:
        return self._call(lambda: self._stub.CreateUser(request))

    def EraseUser(self, request: Any) -> Any:
        return self._call(lambda: self._stub.EraseUser(request))

    def _call(self, call: Callable[[], Any]) -> Any:
        assert current().transaction is None
        return self.faults.pop(0)(call) if self.faults else call()


class Apart:
    """Sign-up, told that users are elsewhere."""

    def __init__(self, harness: Harness, database: Database, clock: ManualClock) -> None:
        self.harness, self.database, self.clock = harness, database, clock
        stub: Any = Users(UsersServiceStub(harness.program.channel("auth")))
        self.users: Users = stub
        self.workflows = Workflows(
            module="auth",
            database=database,
            clock=clock,
            is_local=lambda _: False,
            settings=SETTINGS,
        )
        self.workflow = SignUpWorkflow(
            workflows=self.workflows,
            database=database,
            events=Events(database, clock=clock, ids=Ids(clock=clock), doorbell=Doorbell()),
            clock=clock,
            users=stub,
        )

    def recover(self) -> Recovery:
        self.users.faults.clear()
        self.clock.advance(seconds=100)
        recovery = Recovery([self.workflows])
        recovery.settle()
        return recovery

    def is_known(self, sign_up: SignUp) -> tuple[bool, bool]:
        """To auth, and to users."""
        with self.database.reading() as session:
            account = accounts.of_email(session, sign_up.email)
        stub = self.harness.stub(UsersServiceStub, "local", user="usr_root", roles=["admin"])
        try:
            stub.GetUser(GetUserRequest(user_id=sign_up.user_id))
        except StatusError:
            return account is not None, False
        return account is not None, True

    def rows(self, table: str, sign_up: SignUp) -> int:
        column = "subject" if table == "workflow_runs" else "user_id"
        query = text(f"SELECT FROM auth.{table} WHERE {column} = :user_id")
        with self.database.reading() as session:
            return len(session.execute(query, {"user_id": sign_up.user_id}).all())


@pytest.fixture
def apart(harness: Harness, database: Database, clock: ManualClock) -> Apart:
    return Apart(harness, database, clock)


@pytest.fixture
def somebody(cheap: AuthSettings) -> SignUp:
    number = next(_numbers)
    return SignUp(
        user_id=f"usr_apart{number}",
        email=f"apart{number}@example.com",
        display_name="Some Body",
        password_hash=Passwords(settings=cheap).hash(PASSWORD),
        roles=["customer"],
        request_id=f"apart-{number}",
        request_digest="00" * 32,
    )


@pytest.mark.parametrize("fault", [killed, killed_after])
def test_a_sign_up_whose_process_ends_is_finished(
    apart: Apart, somebody: SignUp, fault: Fault
) -> None:
    apart.users.faults = [fault]
    with pytest.raises(Killed):
        apart.workflow.run(somebody)

    assert apart.recover().finished == 1
    assert apart.is_known(somebody) == (True, True)


@pytest.mark.parametrize("undo", [killed, killed_after, down])
def test_a_sign_up_without_users_leaves_nobody(apart: Apart, somebody: SignUp, undo: Fault) -> None:
    apart.users.faults = [lost, down, down, undo, down, down]
    with pytest.raises((Killed, StatusError)):
        apart.workflow.run(somebody)

    apart.recover()

    assert apart.is_known(somebody) == (False, False)
    assert apart.rows("credentials", somebody) == 0


def test_nobody_is_let_in_before_they_are_signed_up(apart: Apart, somebody: SignUp) -> None:
    apart.users.faults = [killed_after]
    with pytest.raises(Killed):
        apart.workflow.run(somebody)
    auth = apart.harness.stub(AuthServiceStub, "local")
    request = LogInRequest(email=somebody.email, password=PASSWORD)

    with pytest.raises(StatusError, match="CREDENTIALS_INVALID"):
        auth.LogIn(request)
    with apart.database.reading() as session:
        assert accounts.of_request(session, somebody.request_id) is None
    apart.recover()

    assert auth.LogIn(request).user_id == somebody.user_id


def test_a_user_who_comes_after_the_undo_is_refused(apart: Apart, somebody: SignUp) -> None:
    late: list[Callable[[], Any]] = []

    def delayed(call: Callable[[], Any]) -> Any:
        late.append(call)
        return down(call)

    apart.users.faults = [delayed, down, down]
    with pytest.raises(StatusError, match="UNAVAILABLE"):
        apart.workflow.run(somebody)

    with entered(as_a_step()), pytest.raises(StatusError, match="USER_EXISTS"):
        late[0]()
    assert apart.is_known(somebody) == (False, False)


def as_a_step() -> Call:
    """A call such as the step made that was on its way for so long."""
    call = root(module="auth")
    call.step = StepMark("auth", "late")
    return call


def test_who_comes_second_with_a_request_gets_the_first_ones_account(
    apart: Apart, somebody: SignUp
) -> None:
    apart.workflow.run(somebody)
    twin = SignUp(**{**vars_of(somebody), "user_id": f"{somebody.user_id}b"})

    assert apart.workflow.run(twin) == somebody


def vars_of(sign_up: SignUp) -> dict[str, Any]:
    return {name: getattr(sign_up, name) for name in SignUp.__slots__}


def test_who_is_erased_leaves_no_trace_of_the_sign_up(apart: Apart, somebody: SignUp) -> None:
    apart.workflow.run(somebody)
    assert apart.rows("workflow_runs", somebody) == 1
    users = apart.harness.stub(UsersServiceStub, "local", caller="auth")

    users.EraseUser(EraseUserRequest(user_id=somebody.user_id))
    apart.harness.settle()

    assert apart.rows("credentials", somebody) == apart.rows("workflow_runs", somebody) == 0
