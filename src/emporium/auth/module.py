"""The module auth: what it provides and requires, and how it is put together."""

from __future__ import annotations

import punq
from commerce.auth.v1.auth_service_pb2_grpc import add_AuthServiceServicer_to_server
from commerce.users.v1.users_service_pb2_grpc import UsersServiceStub

from emporium.auth.advice import Advice
from emporium.auth.demonstration import Demonstration
from emporium.auth.gate import Gate
from emporium.auth.passwords import Passwords
from emporium.auth.published import PublishedAccounts
from emporium.auth.reactions import Reactions
from emporium.auth.service import AuthService
from emporium.auth.settings import AuthSettings
from emporium.auth.signing import SigningKeys
from emporium.auth.tokens import Tokens
from emporium.auth.workflows import SignUpWorkflow
from portico.module import Module


def _wire(container: punq.Container) -> None:
    # One place for turns, one reading of the key, one word on who is let in.
    for shared in (Passwords, SigningKeys, PublishedAccounts):
        container.register(shared, scope=punq.Scope.singleton)
    for own in (Gate, Tokens, SignUpWorkflow):
        container.register(own)


module = Module(
    name="auth",
    provides={add_AuthServiceServicer_to_server: AuthService},
    requires=[UsersServiceStub],
    reactions=[Reactions],
    settings=AuthSettings,
    owns_data=True,
    wire=_wire,
    demonstration=Demonstration,
    advice=Advice,
)
