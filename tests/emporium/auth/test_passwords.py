from __future__ import annotations

import threading
import time

import pytest
from argon2 import extract_parameters
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from emporium.auth.passwords import Passwords
from emporium.auth.settings import AuthSettings
from portico import context
from portico.errors import StatusError

CHEAP = AuthSettings(argon2_passes=1, argon2_memory_kib=8, argon2_lanes=1)
PASSWORDS = Passwords(CHEAP)

passwords = st.text(max_size=128)


@given(passwords, passwords)
def test_a_hash_is_matched_by_its_password_alone(one: str, other: str) -> None:
    known = PASSWORDS.hash(one)
    assert PASSWORDS.matches(one, known)
    assert PASSWORDS.matches(other, known) is (one == other)


def test_a_long_password_counts_to_its_last_character() -> None:
    known = PASSWORDS.hash("\U0001f511" * 127 + "a")
    assert not PASSWORDS.matches("\U0001f511" * 127 + "b", known)
    assert not PASSWORDS.matches("\U0001f511" * 127, known)


def test_equal_passwords_have_different_hashes_that_do_not_show_them() -> None:
    one, other = PASSWORDS.hash("demo-password"), PASSWORDS.hash("demo-password")
    assert one != other
    assert "demo-password" not in one


def test_nobodys_hash_costs_what_a_real_one_costs_and_matches_nothing() -> None:
    nobodys = PASSWORDS._nobodys
    assert extract_parameters(nobodys) == extract_parameters(PASSWORDS.hash("x"))
    assert len(nobodys) == len(PASSWORDS.hash("x"))
    assert not PASSWORDS.matches("x", None)


def test_the_default_cost_is_that_of_rfc_9106() -> None:
    parameters = extract_parameters(Passwords(AuthSettings())._nobodys)
    cost = parameters.time_cost, parameters.memory_cost, parameters.parallelism
    assert (parameters.type.name, cost) == ("ID", (3, 64 * 1024, 4))


def test_a_hash_of_another_cost_is_improved_and_one_of_the_same_is_left() -> None:
    dearer = Passwords(AuthSettings(argon2_passes=2, argon2_memory_kib=16, argon2_lanes=1))
    known = PASSWORDS.hash("demo-password")
    better = dearer.improved("demo-password", known)
    assert better is not None
    assert dearer.matches("demo-password", better)
    assert dearer.improved("demo-password", better) is None


def test_memory_for_the_lanes_is_asked_for_at_the_start() -> None:
    with pytest.raises(ValidationError, match="argon2_memory_kib"):
        AuthSettings(argon2_memory_kib=16, argon2_lanes=4)


def test_whoever_has_no_time_left_to_wait_for_a_turn_is_told_so() -> None:
    one_at_a_time = Passwords(CHEAP.model_copy(update={"concurrent_hashes": 1}))
    hurried = context.root(deadline=time.monotonic() + 0.01)
    with (
        one_at_a_time.turn(),
        context.entered(hurried),
        pytest.raises(StatusError) as error,
    ):
        one_at_a_time.hash("demo-password")
    assert error.value.code().name == "DEADLINE_EXCEEDED"
    assert one_at_a_time.matches("demo-password", one_at_a_time.hash("demo-password"))


def test_whoever_finds_all_places_to_wait_taken_is_sent_away_at_once() -> None:
    narrow = Passwords(CHEAP.model_copy(update={"concurrent_hashes": 1, "waiting_hashes": 0}))
    with narrow.turn(), pytest.raises(StatusError) as error:
        narrow.hash("demo-password")
    assert (error.value.code().name, error.value.reason) == ("RESOURCE_EXHAUSTED", "TOO_BUSY")
    assert error.value.metadata == {"retry_after_seconds": "1"}
    assert narrow.hash("demo-password")


def test_a_better_hash_is_left_to_another_time_when_there_is_no_turn_for_it() -> None:
    changes = {"argon2_passes": 2, "concurrent_hashes": 1, "waiting_hashes": 0}
    dearer = Passwords(CHEAP.model_copy(update=changes))
    known = PASSWORDS.hash("demo-password")
    with dearer.turn():
        assert dearer.improved("demo-password", known) is None
    assert dearer.improved("demo-password", known) is not None


def test_a_turn_is_waited_for() -> None:
    one_at_a_time = Passwords(CHEAP.model_copy(update={"concurrent_hashes": 1}))
    hashes: list[str] = []
    waiting = threading.Thread(target=lambda: hashes.append(one_at_a_time.hash("demo-password")))
    with one_at_a_time.turn():
        waiting.start()
        assert hashes == []
    waiting.join()
    assert len(hashes) == 1
