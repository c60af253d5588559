"""What a user is, and who may see or make one: rules alone, no input or output, no clock."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from portico import errors

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from portico.context import Identity

ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person with an account. What is personal does not print."""

    user_id: str
    email: str = field(repr=False)
    display_name: str = field(repr=False)
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser:
    """A user to be made; ``email`` is canonical."""

    user_id: str
    email: str = field(repr=False)
    display_name: str = field(repr=False)
    request_id: str

    @property
    def digest(self) -> bytes:
        """32 bytes that are the same when the content of two requests is."""
        content = f"{self.user_id}\0{self.email}\0{self.display_name}"
        return hashlib.sha256(content.encode()).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A row that a new user cannot stand beside. ``user`` is None when it is erased."""

    user_id: str
    request_id: str | None
    digest: bytes | None
    user: User | None


def canonical_email(email: str) -> str:
    """The one spelling of an address that is kept and compared."""
    return email.lower()


def may_see(caller: Identity, user_id: str) -> bool:
    """Users may see themselves, an administrator everybody."""
    return caller.subject == user_id or ADMIN in caller.roles


def made_before(new: NewUser, rivals: Iterable[Rival]) -> User:
    """The user that the same request has made already.

    Raises REQUEST_ID_REUSED, USER_EXISTS or EMAIL_TAKEN when what stands in the way is another's. A
    rival that has gone meanwhile can only have been an email's: a user_id is never free again.
    """
    by_request = {rival.request_id: rival for rival in rivals}
    same_request = by_request.get(new.request_id)
    if same_request is not None:
        if same_request.digest != new.digest or same_request.user is None:
            raise errors.already_exists(
                "REQUEST_ID_REUSED",
                "this request_id (REST: Idempotency-Key) was used for something else; take a new one",
                request_id=new.request_id,
            )
        return same_request.user
    if any(rival.user_id == new.user_id for rival in by_request.values()):
        raise errors.already_exists("USER_EXISTS", "this user id is taken", user_id=new.user_id)
    raise errors.already_exists("EMAIL_TAKEN", "another user has this email")


def not_found(user_id: str) -> errors.StatusError:
    """No such user, or none that the caller may see."""
    return errors.not_found("USER_NOT_FOUND", "there is no such user", user_id=user_id)
