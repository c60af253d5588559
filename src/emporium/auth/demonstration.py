"""Accounts to try things with. Their passwords are published: never in production."""

from __future__ import annotations

import time

import grpc
from commerce.users.v1.users_service_pb2 import GetUserRequest
from commerce.users.v1.users_service_pb2_grpc import UsersServiceStub

from emporium.auth.model import SignUp
from emporium.auth.passwords import Passwords
from emporium.auth.published import ACCOUNTS, PublishedAccount, PublishedAccounts
from emporium.auth.store import accounts
from emporium.auth.workflows import SignUpWorkflow
from portico.data import Database
from portico.errors import StatusError

_PATIENCE_SECONDS = 30.0
_PAUSE_SECONDS = 0.2
_NOT_REACHED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


class Demonstration:
    """Signs the demonstration accounts up, as anybody else is, and lets them in."""

    def __init__(
        self,
        *,
        database: Database,
        passwords: Passwords,
        sign_up: SignUpWorkflow,
        published: PublishedAccounts,
        users: UsersServiceStub,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._sign_up = sign_up
        self._published = published
        self._users = users

    def load(self) -> None:
        """Make the accounts that are not there, leave those that are as they are, open them all."""
        with self._database.reading() as session:
            known = accounts.known(session, [account.user_id for account in ACCOUNTS])
        missing = [account for account in ACCOUNTS if account.user_id not in known]
        if missing:
            self._await_users()
        for account in missing:
            self._sign_up.run(self._of(account))
        self._published.open()

    def _await_users(self) -> None:
        """Return once users answers, whatever it says. Raises what it was last told when that takes too long.

        A sign-up that is undone leaves its user_id taken for ever, and these ids are the same at every start.
        """
        until = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                self._users.GetUser(GetUserRequest(user_id=ACCOUNTS[0].user_id))
            except StatusError as answer:
                if answer.code() not in _NOT_REACHED:
                    return
                if time.monotonic() > until:
                    raise
            else:
                return
            time.sleep(_PAUSE_SECONDS)

    def _of(self, account: PublishedAccount) -> SignUp:
        return SignUp(
            user_id=account.user_id,
            email=account.email,
            display_name=account.display_name,
            password_hash=self._passwords.hash(account.password),
            roles=[account.role.value],
        )
