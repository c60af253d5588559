from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from emporium.users import store
from emporium.users.model import NewUser
from portico.data import Database

MORNING = datetime(2026, 1, 1, tzinfo=UTC)
NOON = MORNING + timedelta(hours=5)

_numbers = count(1)


def somebody() -> NewUser:
    number = next(_numbers)
    return NewUser(
        user_id=f"usr_{number}",
        email=f"{number}@example.com",
        display_name="Some Body",
        request_id=f"request-{number}",
    )


def add(database: Database, new: NewUser) -> bool:
    with database.unit_of_work() as session:
        return store.add(session, new, now=MORNING) is not None


def erase(database: Database, user_id: str) -> bool:
    with database.unit_of_work() as session:
        return store.erase(session, user_id, now=NOON)


def test_a_user_is_found_as_it_was_made(database: Database) -> None:
    new = somebody()
    with database.unit_of_work() as session:
        made = store.add(session, new, now=MORNING)
    with database.reading() as session:
        assert store.find(session, new.user_id) == made
    assert made is not None
    assert made.created_at == MORNING


@pytest.mark.parametrize("taken", ["user_id", "email", "request_id"])
def test_each_of_the_three_names_of_a_user_is_unique(database: Database, taken: str) -> None:
    first, second = somebody(), somebody()
    assert add(database, first)
    names = {
        name: getattr(second, name) for name in ("user_id", "email", "display_name", "request_id")
    }
    clash = NewUser(**names | {taken: getattr(first, taken)})
    assert not add(database, clash)
    with database.reading() as session:
        assert [rival.user_id for rival in store.rivals(session, clash)] == [first.user_id]


def test_an_erased_user_leaves_a_row_with_nothing_personal(database: Database) -> None:
    new = somebody()
    add(database, new)
    assert erase(database, new.user_id)
    with database.reading() as session:
        assert store.find(session, new.user_id) is None
        row = session.execute(select(store.users).where(store.users.c.user_id == new.user_id)).one()
    kept = {name: value for name, value in row._mapping.items() if value is not None}
    assert kept == {"user_id": new.user_id, "created_at": MORNING, "erased_at": NOON}


def test_erasing_twice_or_nobody_changes_nothing(database: Database) -> None:
    new = somebody()
    add(database, new)
    assert erase(database, new.user_id)
    assert not erase(database, new.user_id)
    assert not erase(database, "usr_nobody")
    assert not erase(database, "usr_nobody")


def test_an_erased_email_is_free_but_the_id_is_not(database: Database) -> None:
    new = somebody()
    add(database, new)
    erase(database, new.user_id)
    assert not add(database, new)
    again = somebody()
    assert add(
        database,
        NewUser(
            user_id=again.user_id,
            email=new.email,
            display_name="Again",
            request_id=new.request_id,
        ),
    )


def test_a_user_who_is_erased_before_being_made_is_never_made(database: Database) -> None:
    new = somebody()
    erase(database, new.user_id)
    assert not add(database, new)
    with database.reading() as session:
        assert store.find(session, new.user_id) is None


def test_of_many_equal_requests_at_once_one_makes_the_user(database: Database) -> None:
    new = somebody()
    start = threading.Barrier(8)

    def attempt(_: int) -> bool:
        start.wait()
        return add(database, new)

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(attempt, range(8))) == [False] * 7 + [True]


def test_a_user_erased_while_being_made_does_not_stay(database: Database) -> None:
    for _ in range(10):
        new = somebody()
        with ThreadPoolExecutor(2) as pool:
            pool.submit(add, database, new)
            pool.submit(erase, database, new.user_id)
        with database.reading() as session:
            assert store.find(session, new.user_id) is None


@pytest.mark.parametrize(
    ("columns", "values", "constraint"),
    [
        (
            "(user_id, email, display_name, request_id, request_digest, created_at)",
            "('usr_x', 'Upper@example.com', 'x', 'x', '\\x00', now())",
            "users_email_canonical",
        ),
        (
            "(user_id, email, created_at, erased_at)",
            "('usr_x', 'left@example.com', now(), now())",
            "users_whole_or_erased",
        ),
        (
            "(user_id, created_at)",
            "('usr_x', now())",
            "users_whole_or_erased",
        ),
    ],
)
def test_the_table_itself_refuses_what_may_not_be(
    database: Database, columns: str, values: str, constraint: str
) -> None:
    with pytest.raises(IntegrityError, match=constraint), database.unit_of_work() as session:
        session.execute(text(f"INSERT INTO users.users {columns} VALUES {values}"))  # from above
