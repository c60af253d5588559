from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from emporium.auth.signing import SigningKeys
from portico.clock import ManualClock
from portico.context import Identity
from portico.data import Database, Engine
from portico.security.tokens import TokenAuthenticator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emporium.auth.settings import AuthSettings
    from portico.testing.servers import Databases

MIGRATIONS = Path(__file__).parents[3] / "migrations"
ANN = Identity("usr_ann", frozenset({"customer"}))


@pytest.fixture
def database(databases: Databases) -> Iterator[Database]:
    """As it is at the first start of all."""
    url = databases.migrated(["users", "auth"], folder=MIGRATIONS)
    engine = Engine(url)
    yield Database(engine, schema="auth")
    engine.close()
    databases.drop(url)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def keys_of(database: Database, clock: ManualClock, cheap: AuthSettings) -> SigningKeys:
    return SigningKeys(database=database, clock=clock, settings=cheap)


def signs(keys: SigningKeys, clock: ManualClock, *, checked_by: SigningKeys) -> bool:
    check = TokenAuthenticator(keys=checked_by.public, issuer="emporium", clock=clock)
    return check(f"Bearer {keys.signer().sign(ANN)}") == ANN


def test_the_first_start_makes_a_key_and_the_next_finds_it(
    database: Database, clock: ManualClock, cheap: AuthSettings
) -> None:
    first = keys_of(database, clock, cheap)
    second = keys_of(database, clock, cheap)
    assert list(first.public()) == list(second.public())
    assert len(first.public()) == 1
    assert signs(first, clock, checked_by=second)


def test_programs_that_start_at_once_end_with_one_key(
    database: Database, clock: ManualClock, cheap: AuthSettings
) -> None:
    start = threading.Barrier(8)

    def begin(_: int) -> SigningKeys:
        start.wait()
        return keys_of(database, clock, cheap)

    with ThreadPoolExecutor(8) as pool:
        all_keys = list(pool.map(begin, range(8)))
    assert len(all_keys[0].public()) == 1
    assert all(signs(keys, clock, checked_by=all_keys[0]) for keys in all_keys)


def test_a_new_key_is_published_first_and_taken_up_by_others_within_a_minute(
    database: Database, clock: ManualClock, cheap: AuthSettings
) -> None:
    rotating, other = keys_of(database, clock, cheap), keys_of(database, clock, cheap)
    (old,) = rotating.public()
    old_token = other.signer().sign(ANN)
    rotating.rotate()
    new, still = other.public()
    assert (still, new == old) == (old, False)
    assert signs(rotating, clock, checked_by=other)
    assert signs(other, clock, checked_by=rotating)

    clock.advance(seconds=60)
    assert other.signer().sign(ANN) != old_token
    assert other.signer()._headers["kid"] == new


def test_a_retired_key_is_published_as_long_as_a_token_may_be_signed_with_it(
    database: Database, clock: ManualClock, cheap: AuthSettings
) -> None:
    keys = keys_of(database, clock, cheap)
    (old,) = keys.public()
    keys.rotate()
    clock.advance(seconds=cheap.access_lifetime_seconds + 59)
    assert old in keys.public()
    clock.advance(seconds=1)
    assert len(keys.public()) == 1
    assert old not in keys.public()


def test_two_active_keys_are_impossible(
    database: Database, clock: ManualClock, cheap: AuthSettings
) -> None:
    keys_of(database, clock, cheap)
    copy = text(
        "INSERT INTO auth.signing_keys SELECT 'another', private_key, public_key, created_at"
        " FROM auth.signing_keys"
    )
    with (
        pytest.raises(IntegrityError, match="signing_keys_one_active"),
        database.unit_of_work() as session,
    ):
        session.execute(copy)
