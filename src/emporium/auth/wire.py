"""Between the messages of commerce.auth.v1, those of users that sign-up sends, and the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from commerce.auth.v1 import auth_service_pb2, events_pb2, jwk_pb2
from commerce.users.v1 import users_service_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from emporium.auth.model import Applicant, canonical_email, normal_form
from portico.security.keys import CURVE, KEY_TYPE, encoded
from portico.security.tokens import ALGORITHM

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from emporium.auth.model import SignUp, TokenPair


def applicant(request: auth_service_pb2.RegisterRequest) -> Applicant:
    """Who signs up."""
    return Applicant(
        email=canonical_email(request.email),
        password=normal_form(request.password),
        display_name=request.display_name,
        request_id=request.request_id,
    )


def log_in(request: auth_service_pb2.LogInRequest) -> tuple[str, str]:
    """The email and the password, as they are compared."""
    return canonical_email(request.email), normal_form(request.password)


def registered(pair: TokenPair) -> auth_service_pb2.RegisterResponse:
    """The answer to Register."""
    return auth_service_pb2.RegisterResponse(
        user_id=pair.user_id,
        access_token=pair.access_token,
        refresh_token=pair.refresh_token,
        expires_in=pair.expires_in,
    )


def logged_in(pair: TokenPair) -> auth_service_pb2.LogInResponse:
    """The answer to LogIn."""
    return auth_service_pb2.LogInResponse(
        user_id=pair.user_id,
        access_token=pair.access_token,
        refresh_token=pair.refresh_token,
        expires_in=pair.expires_in,
    )


def refreshed(pair: TokenPair) -> auth_service_pb2.RefreshResponse:
    """The answer to Refresh."""
    return auth_service_pb2.RefreshResponse(
        user_id=pair.user_id,
        access_token=pair.access_token,
        refresh_token=pair.refresh_token,
        expires_in=pair.expires_in,
    )


def jwks(keys: Mapping[str, Ed25519PublicKey]) -> auth_service_pb2.GetJwksResponse:
    """The answer to GetJwks."""
    return auth_service_pb2.GetJwksResponse(
        keys=[
            jwk_pb2.Jwk(
                kty=KEY_TYPE, crv=CURVE, x=encoded(key), kid=key_id, use="sig", alg=ALGORITHM
            )
            for key_id, key in keys.items()
        ]
    )


def create_user(sign_up: SignUp, *, request_id: str) -> users_service_pb2.CreateUserRequest:
    """The user who goes with the credentials."""
    return users_service_pb2.CreateUserRequest(
        user_id=sign_up.user_id,
        email=sign_up.email,
        display_name=sign_up.display_name,
        request_id=request_id,
    )


def erase_user(user_id: str) -> users_service_pb2.EraseUserRequest:
    """Takes ``create_user`` back."""
    return users_service_pb2.EraseUserRequest(user_id=user_id)


def user_registered(user_id: str, registered_at: datetime) -> events_pb2.UserRegistered:
    """The fact that somebody signed up."""
    moment = Timestamp()
    moment.FromDatetime(registered_at)
    return events_pb2.UserRegistered(user_id=user_id, registered_at=moment)
