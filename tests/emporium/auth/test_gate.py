from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count

import pytest
from argon2 import extract_parameters
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import event, func, select

from emporium.auth import model
from emporium.auth.gate import Gate
from emporium.auth.model import Account
from emporium.auth.passwords import Passwords
from emporium.auth.settings import AuthSettings
from emporium.auth.store import failures
from emporium.auth.store.failures import login_failures
from portico.clock import ManualClock
from portico.data import Database
from portico.errors import StatusError

_numbers = count(1)


class RecordingArgon2(Argon2Hasher):
    """Argon2 that remembers the hashes it compared passwords with."""

    def __init__(self, chosen: AuthSettings) -> None:
        super().__init__(chosen.argon2_passes, chosen.argon2_memory_kib, chosen.argon2_lanes)
        self.compared: list[str] = []

    def verify(self, password: str | bytes, hash: str | bytes) -> bool:
        self.compared.append(str(hash))
        return super().verify(password, hash)


class Door:
    """One account behind one gate; three wrong passwords lock it for a minute."""

    def __init__(self, database: Database, chosen: AuthSettings) -> None:
        self.clock = ManualClock()
        self.database = database
        passwords = Passwords(chosen)
        passwords._argon2 = recording = RecordingArgon2(chosen)
        self.compared = recording.compared
        self.gate = Gate(database=database, clock=self.clock, passwords=passwords, settings=chosen)
        self.email = f"g{next(_numbers)}@example.com"
        self.account = Account(
            user_id="usr_g",
            roles=("customer",),
            password_hash=passwords.hash("right-password"),
            request_digest=b"",
        )

    def attempt(self, password: str, *, known: bool = True) -> str:
        account = self.account if known else None
        try:
            if not self.gate.opens(account, email=self.email, password=password):
                return "wrong"
            with self.database.unit_of_work() as session:
                self.gate.passed(session, email=self.email)
        except StatusError as refusal:
            return refusal.reason
        return "in"


@pytest.fixture
def door(database: Database, cheap: AuthSettings) -> Door:
    return Door(database, cheap)


@pytest.mark.parametrize("known", [True, False])
def test_a_door_is_locked_for_a_while_after_three_wrong_passwords_whether_or_not_there_is_one(
    door: Door,
    known: bool,
) -> None:
    for _ in range(2):
        answers = [door.attempt("wrong-password", known=known) for _ in range(5)]
        assert answers == ["wrong"] * 3 + ["TOO_MANY_ATTEMPTS"] * 2
        door.clock.advance(seconds=60)


def test_the_right_password_does_not_open_a_locked_door_but_an_unlocked_one(door: Door) -> None:
    for _ in range(3):
        door.attempt("wrong-password")
    compared = len(door.compared)
    assert door.attempt("right-password") == "TOO_MANY_ATTEMPTS"
    assert len(door.compared) == compared
    door.clock.advance(seconds=60)
    assert door.attempt("right-password") == "in"


def test_the_right_password_makes_the_wrong_ones_forgotten(door: Door) -> None:
    for _ in range(3):
        assert [door.attempt("wrong-password") for _ in range(2)] == ["wrong"] * 2
        assert door.attempt("right-password") == "in"


def test_the_case_of_an_email_gives_no_further_guesses(door: Door) -> None:
    for spelling in (door.email, door.email.upper(), door.email.title()):
        door.email = spelling
        assert door.attempt("wrong-password") == "wrong"
    assert door.attempt("wrong-password") == "TOO_MANY_ATTEMPTS"


def test_other_emails_are_not_locked(door: Door, database: Database, cheap: AuthSettings) -> None:
    for _ in range(4):
        door.attempt("wrong-password")
    assert Door(database, cheap).attempt("right-password") == "in"


def test_a_right_password_shown_before_the_door_was_locked_comes_too_late(door: Door) -> None:
    assert door.gate.opens(door.account, email=door.email, password="right-password")
    for _ in range(3):
        door.attempt("wrong-password")
    with pytest.raises(StatusError) as error, door.database.unit_of_work() as session:
        door.gate.passed(session, email=door.email)
    assert error.value.reason == "TOO_MANY_ATTEMPTS"


def test_wrong_passwords_at_the_same_moment_are_all_counted(door: Door) -> None:
    start = threading.Barrier(8)

    def attempt(_: int) -> str:
        start.wait()
        return door.attempt("wrong-password")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(attempt, range(8)))
    with door.database.reading() as session:
        counted = failures.read(session, model.email_digest(door.email))
    assert counted is not None
    assert counted.count == answers.count("wrong") >= 3
    assert door.attempt("right-password") == "TOO_MANY_ATTEMPTS"


def test_right_passwords_at_the_same_moment_all_open(door: Door) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: door.attempt("right-password"), range(16)))
    assert answers == ["in"] * 16


def test_an_unknown_email_is_as_much_work_as_a_wrong_password(door: Door) -> None:
    statements: list[str] = []
    engine = door.database.engine._sqlalchemy
    event.listen(engine, "before_cursor_execute", lambda *about: statements.append(about[2]))
    work = []
    for known in (True, False):
        door.attempt("wrong-password", known=known)
        (hashed,) = door.compared
        work.append((extract_parameters(hashed), len(hashed), tuple(statements)))
        door.compared.clear()
        statements.clear()
    assert work[0] == work[1]
    assert len(work[0][2]) > 1


def test_the_email_is_not_kept_and_what_is_goes_some_time_after_it_is_forgotten(
    door: Door, database: Database, cheap: AuthSettings
) -> None:
    door.attempt("wrong-password", known=False)
    with database.reading() as session:
        assert door.email not in str(session.execute(select(login_failures)).all())
    later = Door(database, cheap)
    later.clock.advance(seconds=3600)
    later.attempt("wrong-password")
    outdated = select(func.count()).where(
        login_failures.c.until < later.clock.now() - timedelta(seconds=60)
    )
    with database.reading() as session:
        assert session.execute(outdated).scalar_one() == 0
