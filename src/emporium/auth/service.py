"""The servicer of auth."""

from __future__ import annotations

import grpc
from commerce.auth.v1 import auth_service_pb2 as messages
from commerce.auth.v1.auth_service_pb2_grpc import AuthServiceServicer

from emporium.auth import model, wire
from emporium.auth.gate import Gate
from emporium.auth.model import Account, Applicant, Role, SignUp
from emporium.auth.passwords import Passwords
from emporium.auth.published import PublishedAccounts
from emporium.auth.signing import SigningKeys
from emporium.auth.store import accounts
from emporium.auth.tokens import Tokens
from emporium.auth.workflows import SignUpWorkflow
from portico.data import Database
from portico.errors import StatusError
from portico.ids import Ids


class AuthService(AuthServiceServicer):
    """Signs people up, lets them in, and vouches for them."""

    def __init__(
        self,
        *,
        database: Database,
        ids: Ids,
        passwords: Passwords,
        gate: Gate,
        tokens: Tokens,
        keys: SigningKeys,
        published: PublishedAccounts,
        sign_up: SignUpWorkflow,
    ) -> None:
        self._database = database
        self._ids = ids
        self._passwords = passwords
        self._gate = gate
        self._tokens = tokens
        self._keys = keys
        self._published = published
        self._sign_up = sign_up

    def Register(
        self, request: messages.RegisterRequest, context: grpc.ServicerContext
    ) -> messages.RegisterResponse:
        applicant = wire.applicant(request)
        model.check_length(applicant.password)
        account = self._registered_before(applicant) or self._register(applicant)
        with self._database.unit_of_work() as session:
            return wire.registered(self._tokens.open_family(session, account))

    def LogIn(
        self, request: messages.LogInRequest, context: grpc.ServicerContext
    ) -> messages.LogInResponse:
        email, password = wire.log_in(request)
        account = self._account_of(email)
        if not self._gate.opens(account, email=email, password=password) or account is None:
            raise model.credentials_invalid()
        better_hash = self._passwords.improved(password, account.password_hash)
        with self._database.unit_of_work() as session:
            self._gate.passed(session, email=email)
            if better_hash is not None:
                accounts.replace_hash(session, account, better_hash)
            return wire.logged_in(self._tokens.open_family(session, account))

    def Refresh(
        self, request: messages.RefreshRequest, context: grpc.ServicerContext
    ) -> messages.RefreshResponse:
        return wire.refreshed(self._tokens.refresh(request.refresh_token))

    def LogOut(
        self, request: messages.LogOutRequest, context: grpc.ServicerContext
    ) -> messages.LogOutResponse:
        self._tokens.revoke(request.refresh_token)
        return messages.LogOutResponse()

    def GetJwks(
        self, request: messages.GetJwksRequest, context: grpc.ServicerContext
    ) -> messages.GetJwksResponse:
        return wire.jwks(self._keys.public())

    def _account_of(self, email: str) -> Account | None:
        with self._database.reading() as session:
            account = accounts.of_email(session, email)
        kept_out = account is not None and self._published.keep_out(account.user_id)
        return None if kept_out else account

    def _registered_before(self, applicant: Applicant) -> Account | None:
        """The account that the same request has made already; its password must be shown again."""
        if not applicant.request_id:
            return None
        with self._database.reading() as session:
            account = accounts.of_request(session, applicant.request_id)
        if account is None:
            return None
        email, password = applicant.email, applicant.password
        if account.request_digest != applicant.digest or not self._gate.opens(
            account, email=email, password=password
        ):
            raise model.request_id_reused(applicant.request_id)
        with self._database.unit_of_work() as session:
            self._gate.passed(session, email=email)
        return account

    def _register(self, applicant: Applicant) -> Account:
        sign_up = SignUp(
            user_id=self._ids.new("usr"),
            email=applicant.email,
            display_name=applicant.display_name,
            password_hash=self._passwords.hash(applicant.password),
            roles=[Role.CUSTOMER.value],
            request_id=applicant.request_id,
            request_digest=applicant.digest.hex() if applicant.request_id else "",
        )
        # Of the same request twice at once, the other one may have been first.
        try:
            made = self._sign_up.run(sign_up)
        except StatusError as refusal:
            account = self._registered_before(applicant) if _exists(refusal) else None
            if account is None:
                raise
            return account
        if made.user_id != sign_up.user_id:
            account = self._registered_before(applicant)
            if account is None:  # erased again at this moment
                raise model.request_id_reused(applicant.request_id)
            return account
        return Account(
            user_id=sign_up.user_id,
            roles=tuple(sign_up.roles),
            password_hash=sign_up.password_hash,
            request_digest=applicant.digest,
        )


def _exists(refusal: StatusError) -> bool:
    return refusal.code() is grpc.StatusCode.ALREADY_EXISTS
