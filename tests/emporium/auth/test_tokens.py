from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError

from emporium.auth.model import Account, SignUp
from emporium.auth.published import PublishedAccounts
from emporium.auth.settings import AuthSettings
from emporium.auth.signing import SigningKeys
from emporium.auth.store import accounts
from emporium.auth.store.families import families, refresh_tokens
from emporium.auth.tokens import Tokens
from portico.clock import ManualClock
from portico.data import Database
from portico.errors import StatusError
from portico.ids import Ids

_numbers = count(1)


class Desk:
    """Where tokens are given and taken, with an account to give them to."""

    def __init__(self, database: Database, chosen: AuthSettings) -> None:
        self.clock = ManualClock()
        self.database = database
        self.tokens = Tokens(
            database=database,
            clock=self.clock,
            ids=Ids(clock=self.clock),
            keys=SigningKeys(database=database, clock=self.clock, settings=chosen),
            published=PublishedAccounts(),
            settings=chosen,
        )
        self.account = self._account()

    def _account(self) -> Account:
        number = next(_numbers)
        sign_up = SignUp(
            user_id=f"usr_t{number}",
            email=f"t{number}@example.com",
            display_name="",
            password_hash="$argon2id$",
            roles=["customer"],
        )
        with self.database.unit_of_work() as session:
            accounts.add(session, sign_up, now=self.clock.now())
        return Account(
            user_id=sign_up.user_id, roles=("customer",), password_hash="", request_digest=b""
        )

    def log_in(self) -> str:
        with self.database.unit_of_work() as session:
            return self.tokens.open_family(session, self.account).refresh_token

    def refresh(self, token: str) -> str:
        """The next token, or the reason for which there is none."""
        try:
            return self.tokens.refresh(token).refresh_token
        except StatusError as refusal:
            return refusal.reason


@pytest.fixture
def desk(database: Database, cheap: AuthSettings) -> Desk:
    return Desk(database, cheap.model_copy(update={"refresh_lifetime_seconds": 100}))


def test_each_refresh_gives_the_next_token_of_the_family(desk: Desk) -> None:
    tokens = [desk.log_in()]
    for _ in range(3):
        tokens.append(desk.refresh(tokens[-1]))
    assert len(set(tokens)) == 4
    assert all(len(token) == 43 for token in tokens)


def test_a_token_that_comes_twice_ends_its_family_and_no_other(desk: Desk) -> None:
    stolen, elsewhere = desk.log_in(), desk.log_in()
    newest = desk.refresh(desk.refresh(stolen))
    assert desk.refresh(stolen) == "REFRESH_TOKEN_REUSED"
    assert desk.refresh(newest) == "REFRESH_TOKEN_INVALID"
    assert desk.refresh(stolen) == "REFRESH_TOKEN_INVALID"
    assert len(desk.refresh(elsewhere)) == 43


def test_of_many_who_refresh_with_one_token_at_once_one_wins(desk: Desk) -> None:
    for _ in range(5):
        token = desk.log_in()
        start = threading.Barrier(8)

        def attempt(_: int, token: str = token, start: threading.Barrier = start) -> str:
            start.wait()
            return desk.refresh(token)

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(attempt, range(8)))
        (won,) = [answer for answer in answers if not answer.startswith("REFRESH_TOKEN")]
        assert answers.count("REFRESH_TOKEN_REUSED") == 1
        assert answers.count("REFRESH_TOKEN_INVALID") == 6
        assert desk.refresh(won) == "REFRESH_TOKEN_INVALID"


def test_a_token_used_anew_while_a_copy_of_an_older_one_turns_up_does_not_survive(
    desk: Desk,
) -> None:
    for _ in range(10):
        spent = desk.log_in()
        newest = desk.refresh(spent)
        with ThreadPoolExecutor(2) as pool:
            after = pool.submit(desk.refresh, newest)
            assert pool.submit(desk.refresh, spent).result() == "REFRESH_TOKEN_REUSED"
        last = after.result()
        assert last == "REFRESH_TOKEN_INVALID" or desk.refresh(last) == "REFRESH_TOKEN_INVALID"


def test_a_token_expires_and_each_use_starts_the_time_anew(desk: Desk) -> None:
    token = desk.log_in()
    desk.clock.advance(seconds=99)
    token = desk.refresh(token)
    desk.clock.advance(seconds=99)
    token = desk.refresh(token)
    assert len(token) == 43
    desk.clock.advance(seconds=100)
    assert desk.refresh(token) == "REFRESH_TOKEN_INVALID"


def test_revoking_ends_the_family_by_any_of_its_tokens_and_twice_does_nothing(desk: Desk) -> None:
    spent = desk.log_in()
    newest = desk.refresh(spent)
    for _ in range(2):
        desk.tokens.revoke(spent)
        assert desk.refresh(newest) == "REFRESH_TOKEN_INVALID"
    desk.tokens.revoke("nobody's")


@pytest.mark.parametrize("token", ["", "x", "x" * 512, "\0", "é\U0001f511"])
def test_anything_else_is_no_token(desk: Desk, token: str) -> None:
    assert desk.refresh(token) == "REFRESH_TOKEN_INVALID"


def test_tokens_are_kept_as_digests_only(desk: Desk) -> None:
    token = desk.log_in()
    with desk.database.reading() as session:
        rows = session.execute(select(refresh_tokens)).all()
    assert token.encode() not in b"".join(row.token_digest for row in rows)
    assert token not in str(rows)


def test_expired_families_go_while_others_log_in(desk: Desk) -> None:
    for _ in range(3):
        desk.log_in()
    desk.clock.advance(seconds=100)
    for _ in range(20):
        desk.log_in()
    expired = select(func.count()).where(families.c.expires_at <= desk.clock.now())
    with desk.database.reading() as session:
        assert session.execute(expired).scalar_one() == 0


def test_somebody_removed_while_logging_in_gets_nothing(desk: Desk) -> None:
    with desk.database.unit_of_work() as session:
        accounts.remove(session, desk.account.user_id)
    with pytest.raises(StatusError) as error:
        desk.log_in()
    assert error.value.reason == "CREDENTIALS_INVALID"


def test_removing_an_account_ends_its_families(desk: Desk) -> None:
    token = desk.log_in()
    with desk.database.unit_of_work() as session:
        accounts.remove(session, desk.account.user_id)
    assert desk.refresh(token) == "REFRESH_TOKEN_INVALID"


def test_a_family_with_two_good_tokens_is_impossible(desk: Desk) -> None:
    desk.log_in()
    another = text(
        "INSERT INTO auth.refresh_tokens (token_digest, family_id, issued_at)"
        " SELECT sha256(token_digest), family_id, issued_at FROM auth.refresh_tokens"
        " WHERE spent_at IS NULL LIMIT 1"
    )
    with (
        pytest.raises(IntegrityError, match="refresh_tokens_one_unspent"),
        desk.database.unit_of_work() as session,
    ):
        session.execute(another)


class Families(RuleBasedStateMachine):
    """Log-ins, refreshes with any token ever given, log-outs; what must come of it is in the lists."""

    database: ClassVar[Database]
    chosen: ClassVar[AuthSettings]

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(self.database, self.chosen)
        self.given: list[list[str]] = []
        self.ended: list[bool] = []
        self.expires: list[float] = []
        self.seconds = 0.0

    @rule()
    def log_in(self) -> None:
        self.given.append([self.desk.log_in()])
        self.ended.append(False)
        self.expires.append(self.seconds + 100)

    @rule(data=st.data())
    def refresh(self, data: st.DataObject) -> None:
        if not self.given:
            return
        family = data.draw(st.integers(0, len(self.given) - 1))
        tokens = self.given[family]
        index = data.draw(st.integers(0, len(tokens) - 1))
        answer = self.desk.refresh(tokens[index])
        if self.ended[family] or self.seconds >= self.expires[family]:
            assert answer == "REFRESH_TOKEN_INVALID"
        elif index < len(tokens) - 1:
            assert answer == "REFRESH_TOKEN_REUSED"
            self.ended[family] = True
        else:
            tokens.append(answer)
            self.expires[family] = self.seconds + 100

    @rule(data=st.data())
    def log_out(self, data: st.DataObject) -> None:
        if self.given:
            family = data.draw(st.integers(0, len(self.given) - 1))
            self.desk.tokens.revoke(data.draw(st.sampled_from(self.given[family])))
            self.ended[family] = True

    @rule(seconds=st.sampled_from([1, 50, 99, 100]))
    def wait(self, seconds: float) -> None:
        self.desk.clock.advance(seconds=seconds)
        self.seconds += seconds

    @invariant()
    def every_token_is_new(self) -> None:
        tokens = [token for family in self.given for token in family]
        assert len(set(tokens)) == len(tokens)


def test_whatever_happens_only_the_newest_token_of_a_family_without_misuse_is_good(
    database: Database, cheap: AuthSettings
) -> None:
    Families.database = database
    Families.chosen = cheap.model_copy(update={"refresh_lifetime_seconds": 100})
    budget = settings(max_examples=25, stateful_step_count=20, deadline=None)
    run_state_machine_as_test(Families, settings=budget)
