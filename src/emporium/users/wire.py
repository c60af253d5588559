"""Between the messages of commerce.users.v1 and the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from commerce.users.v1 import events_pb2, user_pb2, users_service_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from emporium.users.model import NewUser, canonical_email

if TYPE_CHECKING:
    from datetime import datetime

    from emporium.users.model import User


def new_user(request: users_service_pb2.CreateUserRequest) -> NewUser:
    """The user asked for."""
    return NewUser(
        user_id=request.user_id,
        email=canonical_email(request.email),
        display_name=request.display_name,
        request_id=request.request_id,
    )


def created(user: User) -> users_service_pb2.CreateUserResponse:
    """The answer to CreateUser."""
    return users_service_pb2.CreateUserResponse(user=user_message(user))


def user_message(user: User) -> user_pb2.User:
    """A user as the contract tells it."""
    return user_pb2.User(
        user_id=user.user_id,
        email=user.email,
        display_name=user.display_name,
        created_at=_timestamp(user.created_at),
    )


def user_created(user: User) -> events_pb2.UserCreated:
    """The fact that somebody came into being."""
    return events_pb2.UserCreated(user_id=user.user_id, created_at=_timestamp(user.created_at))


def user_erased(user_id: str, erased_at: datetime) -> events_pb2.UserErased:
    """The fact that somebody is gone."""
    return events_pb2.UserErased(user_id=user_id, erased_at=_timestamp(erased_at))


def _timestamp(moment: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(moment)
    return message
