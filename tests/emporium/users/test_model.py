from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emporium.users.model import NewUser, Rival, User, canonical_email, made_before, may_see
from portico.context import ANONYMOUS, Identity
from portico.errors import StatusError

MORNING = datetime(2026, 1, 1, tzinfo=UTC)

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
new_users = st.builds(NewUser, user_id=texts, email=texts, display_name=texts, request_id=texts)


def row_of(new: NewUser) -> Rival:
    user = User(
        user_id=new.user_id,
        email=new.email,
        display_name=new.display_name,
        created_at=MORNING,
    )
    return Rival(user_id=new.user_id, request_id=new.request_id, digest=new.digest, user=user)


def refusal(new: NewUser, *rivals: Rival) -> str:
    with pytest.raises(StatusError) as caught:
        made_before(new, rivals)
    return caught.value.reason


ANN = NewUser(user_id="usr_ann", email="ann@example.com", display_name="Ann", request_id="r1")
BOB = NewUser(user_id="usr_bob", email="bob@example.com", display_name="Bob", request_id="r2")


def other(new: NewUser, **changes: str) -> NewUser:
    return NewUser(
        **{
            "user_id": new.user_id,
            "email": new.email,
            "display_name": new.display_name,
            "request_id": new.request_id,
        }
        | changes
    )


@given(new_users)
def test_a_repeat_finds_the_user_it_made(new: NewUser) -> None:
    assert made_before(new, [row_of(new)]) == row_of(new).user


@given(new_users, new_users)
def test_a_request_that_comes_with_other_content_is_never_answered(
    one: NewUser, two: NewUser
) -> None:
    two = other(two, request_id=one.request_id)
    if two != one:
        assert refusal(two, row_of(one)) == "REQUEST_ID_REUSED"


def test_what_stands_in_the_way_is_named() -> None:
    taken_id = other(BOB, user_id=ANN.user_id)
    taken_email = other(BOB, email=ANN.email)
    assert refusal(taken_id, row_of(ANN)) == "USER_EXISTS"
    assert refusal(taken_email, row_of(ANN)) == "EMAIL_TAKEN"
    assert refusal(BOB) == "EMAIL_TAKEN"


def test_the_request_decides_before_the_id_and_the_id_before_the_email() -> None:
    ann, bob = row_of(ANN), row_of(BOB)
    assert refusal(other(ANN, display_name="Anne"), ann) == "REQUEST_ID_REUSED"
    assert (
        refusal(
            NewUser(user_id="usr_bob", email=ANN.email, display_name="C", request_id="r3"), ann, bob
        )
        == "USER_EXISTS"
    )


def test_an_erased_user_keeps_the_id_taken() -> None:
    tombstone = Rival(user_id=ANN.user_id, request_id=None, digest=None, user=None)
    assert refusal(ANN, tombstone) == "USER_EXISTS"


def test_users_see_themselves_and_administrators_everybody() -> None:
    assert may_see(Identity("usr_ann"), "usr_ann")
    assert may_see(Identity("usr_root", frozenset({"admin"})), "usr_ann")
    assert not may_see(Identity("usr_bob", frozenset({"customer", "business"})), "usr_ann")
    assert not may_see(ANONYMOUS, "usr_ann")


@given(st.emails())
def test_a_canonical_email_stays_as_it_is(email: str) -> None:
    canonical = canonical_email(email)
    assert canonical_email(canonical) == canonical
    assert canonical_email(email.upper()) == canonical


def test_nothing_personal_is_printed() -> None:
    printed = f"{ANN!r} {row_of(ANN)!r}"
    assert "ann@example.com" not in printed
    assert "Ann" not in printed
