"""Signing up: credentials here and the user in users, together or not at all."""

from __future__ import annotations

from commerce.users.v1.users_service_pb2_grpc import UsersServiceStub

from emporium.auth import wire
from emporium.auth.model import SIGN_UP, SignUp
from emporium.auth.store import accounts
from portico.clock import Clock
from portico.data import Database
from portico.events import Events
from portico.workflow import Step, Workflow, Workflows, step_key


class SignUpWorkflow:
    """credentials [remove] → users.CreateUser [EraseUser] → UserRegistered."""

    def __init__(
        self,
        *,
        workflows: Workflows,
        database: Database,
        events: Events,
        clock: Clock,
        users: UsersServiceStub,
    ) -> None:
        self._workflows = workflows
        self._database = database
        self._events = events
        self._clock = clock
        self._users = users
        workflow = Workflow(
            name=SIGN_UP,
            version=1,
            steps=[
                Step("credentials", self._add_credentials, undo=self._remove_credentials),
                Step("user", self._create_user, undo=self._erase_user, at=UsersServiceStub),
                Step("announcement", self._announce),
            ],
            subject=lambda sign_up: sign_up.user_id,
        )
        self._workflow = workflows.define(workflow, state=SignUp)

    def run(self, sign_up: SignUp) -> SignUp:
        """Make the account. Raises EMAIL_TAKEN or REQUEST_ID_REUSED.

        Answers what was signed up: somebody else's, when their sign-up with the same request_id was
        under way.
        """
        return self._workflows.run(self._workflow, sign_up, key=sign_up.key)

    def _add_credentials(self, sign_up: SignUp) -> None:
        with self._database.unit_of_work() as session:
            accounts.add(session, sign_up, now=self._clock.now())

    def _remove_credentials(self, sign_up: SignUp) -> None:
        with self._database.unit_of_work() as session:
            accounts.remove(session, sign_up.user_id)

    def _create_user(self, sign_up: SignUp) -> None:
        self._users.CreateUser(wire.create_user(sign_up, request_id=step_key()))

    def _erase_user(self, sign_up: SignUp) -> None:
        self._users.EraseUser(wire.erase_user(sign_up.user_id))

    def _announce(self, sign_up: SignUp) -> None:
        registered = wire.user_registered(sign_up.user_id, self._clock.now())
        with self._database.unit_of_work() as session:
            self._events.publish(session, registered, aggregate_id=sign_up.user_id)
