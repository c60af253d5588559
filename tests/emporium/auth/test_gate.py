from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import timedelta
from itertools import count, islice

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

PATIENCE_SECONDS = 5

_numbers = count(1)


class RecordingArgon2(Argon2Hasher):
    """Argon2 that remembers the hashes it compared passwords with, and may take its time."""

    def __init__(self, chosen: AuthSettings) -> None:
        super().__init__(chosen.argon2_passes, chosen.argon2_memory_kib, chosen.argon2_lanes)
        self.compared: list[str] = []
        self.goes_on = threading.Event()
        self.goes_on.set()

    def verify(self, password: str | bytes, hash: str | bytes) -> bool:
        self.compared.append(str(hash))
        assert self.goes_on.wait(10 * PATIENCE_SECONDS)
        return super().verify(password, hash)


class Door:
    """One account behind one gate; three wrong passwords lock it for a minute."""

    def __init__(self, database: Database, chosen: AuthSettings) -> None:
        self.clock = ManualClock()
        self.database = database
        passwords = Passwords(chosen.model_copy(update={"concurrent_hashes": 64}))
        passwords._argon2 = self.argon2 = RecordingArgon2(chosen)
        self.compared = self.argon2.compared
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


def test_what_is_right_was_right_however_many_are_wrong_meanwhile(door: Door) -> None:
    assert door.gate.opens(door.account, email=door.email, password="right-password")
    for _ in range(3):
        door.attempt("wrong-password")
    with door.database.unit_of_work() as session:
        door.gate.passed(session, email=door.email)
    assert door.attempt("right-password") == "in"


@pytest.mark.parametrize("known", [True, False])
def test_no_more_guesses_are_looked_at_than_one_by_one_however_many_come_at_once(
    door: Door,
    known: bool,
) -> None:
    guesses = ["right-password", *[f"wrong-password-{number}" for number in range(15)]]
    start = threading.Barrier(len(guesses))

    def attempt(guess: str) -> str:
        start.wait()
        return door.attempt(guess, known=known)

    door.argon2.goes_on.clear()  # nobody knows yet which guesses were wrong
    with ThreadPoolExecutor(len(guesses)) as crowd:
        answers = [crowd.submit(attempt, guess) for guess in guesses]
        try:
            ended = islice(as_completed(answers, timeout=PATIENCE_SECONDS), len(guesses) - 3)
            assert [answer.result() for answer in ended] == ["TOO_MANY_ATTEMPTS"] * 13
        finally:
            door.argon2.goes_on.set()
    assert len(door.compared) == 3
    others = [answer.result() for answer in answers if answer.result() != "TOO_MANY_ATTEMPTS"]
    assert sorted(others) in (["wrong"] * 3, ["in", "wrong", "wrong"])


def test_among_guesses_at_the_same_moment_the_right_one_is_answered_like_the_others(
    door: Door,
) -> None:
    door.argon2.goes_on.clear()
    with ThreadPoolExecutor(3) as crowd:
        before = [crowd.submit(door.attempt, "wrong-password") for _ in range(3)]
        try:
            until = time.monotonic() + PATIENCE_SECONDS
            while len(door.compared) < 3 and time.monotonic() < until:
                time.sleep(0.01)
            late = [door.attempt(guess) for guess in ("right-password", "wrong-password")]
        finally:
            door.argon2.goes_on.set()
    assert [answer.result() for answer in before] == ["wrong"] * 3
    assert late == ["TOO_MANY_ATTEMPTS"] * 2
    assert len(door.compared) == 3


def test_wrong_passwords_are_counted_and_those_that_were_refused_are_not(door: Door) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: door.attempt("wrong-password"), range(16)))
    assert answers.count("wrong") == 3
    with door.database.reading() as session:
        counted = failures.read(session, model.email_digest(door.email))
    assert counted is not None
    assert counted.count == 3


def test_right_passwords_at_the_same_moment_all_open_if_they_are_no_more_than_the_limit(
    door: Door,
) -> None:
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: door.attempt("right-password"), range(16)))
    assert answers == ["in"] * 16


def test_who_is_sent_away_because_of_a_crowd_has_not_used_up_a_guess(
    database: Database, cheap: AuthSettings
) -> None:
    door = Door(database, cheap)
    narrow = Passwords(cheap.model_copy(update={"concurrent_hashes": 1, "waiting_hashes": 0}))
    door.gate._passwords = narrow
    with narrow.turn():
        assert [door.attempt("wrong-password") for _ in range(5)] == ["TOO_BUSY"] * 5
    assert door.attempt("right-password") == "in"


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
