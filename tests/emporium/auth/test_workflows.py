from __future__ import annotations

from dataclasses import asdict
from itertools import count
from typing import TYPE_CHECKING

import orjson
import pytest
from commerce.users.v1.users_service_pb2 import GetUserRequest
from commerce.users.v1.users_service_pb2_grpc import UsersServiceStub
from sqlalchemy import text

from emporium.auth.model import SignUp
from emporium.auth.workflows import SignUpWorkflow
from portico.data import Database
from portico.errors import StatusError
from portico.events import Doorbell, Events
from portico.ids import Ids
from portico.workflow import Step, Workflow, Workflows

if TYPE_CHECKING:
    from portico.clock import ManualClock
    from portico.testing.harness import Harness

_numbers = count(1)


@pytest.fixture
def workflow(harness: Harness, clock: ManualClock) -> SignUpWorkflow:
    """As the module puts it together, on the engine of the harness."""
    assert harness.program.storage is not None
    database = harness.program.storage._databases["auth"]
    return SignUpWorkflow(
        workflows=Workflows(module="auth", database=database),
        database=database,
        events=Events(database, clock=clock, ids=Ids(clock=clock), doorbell=Doorbell()),
        clock=clock,
        users=UsersServiceStub(harness.program.channel("auth")),
    )


def somebody(**changes: str) -> SignUp:
    number = next(_numbers)
    whole = {
        "user_id": f"usr_w{number}",
        "email": f"w{number}@example.com",
        "display_name": "Some Body",
        "password_hash": "$argon2id$",
    }
    return SignUp(**whole | changes, roles=["customer"])


def accounts(database: Database, user_id: str) -> int:
    query = text("SELECT count(*) FROM auth.credentials WHERE user_id = :user_id")
    with database.reading() as session:
        return int(session.execute(query, {"user_id": user_id}).scalar_one())


def events(database: Database, user_id: str) -> int:
    query = text("SELECT count(*) FROM auth.outbox WHERE aggregateid = :user_id")
    with database.reading() as session:
        return int(session.execute(query, {"user_id": user_id}).scalar_one())


def user_exists(harness: Harness, user_id: str) -> bool:
    users = harness.stub(UsersServiceStub, "local", user="usr_root", roles=["admin"])
    try:
        users.GetUser(GetUserRequest(user_id=user_id))
    except StatusError:
        return False
    return True


def test_both_halves_are_made_and_it_is_told(
    workflow: SignUpWorkflow, harness: Harness, database: Database
) -> None:
    sign_up = somebody()
    workflow.run(sign_up)
    assert user_exists(harness, sign_up.user_id)
    assert accounts(database, sign_up.user_id) == events(database, sign_up.user_id) == 1


def test_when_the_user_is_refused_nothing_stays_and_nothing_is_told(
    workflow: SignUpWorkflow, database: Database
) -> None:
    refused = somebody(display_name="")
    with pytest.raises(StatusError):
        workflow.run(refused)
    assert accounts(database, refused.user_id) == events(database, refused.user_id) == 0


def test_a_step_that_runs_twice_does_no_harm(workflow: SignUpWorkflow, database: Database) -> None:
    sign_up = somebody()
    workflow.run(sign_up)
    workflow.run(sign_up)
    assert accounts(database, sign_up.user_id) == 1


def test_undoing_twice_leaves_neither_half(
    workflow: SignUpWorkflow, harness: Harness, database: Database
) -> None:
    sign_up = somebody()
    workflow.run(sign_up)
    undos = [Step(step.name, step.undo) for step in workflow._workflow.steps if step.undo]
    backwards = Workflow(name="auth.undo", version=1, steps=undos[::-1])
    for _ in range(2):
        workflow._workflows.run(backwards, sign_up, key=sign_up.key)
    assert not user_exists(harness, sign_up.user_id)
    assert accounts(database, sign_up.user_id) == 0


def test_what_a_sign_up_carries_is_plain_data() -> None:
    assert SignUp(**orjson.loads(orjson.dumps(asdict(somebody())))).roles == ["customer"]


def test_the_key_of_a_sign_up_is_the_requests_if_it_has_one() -> None:
    assert somebody(request_id="r1").key == somebody(request_id="r1").key == "sign_up/r1"
    assert somebody().key != somebody().key
