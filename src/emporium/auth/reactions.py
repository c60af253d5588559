"""What auth does when something has happened in users."""

from __future__ import annotations

from commerce.users.v1.events_pb2 import UserErased
from sqlalchemy import Connection

from emporium.auth.store import accounts
from portico.events import reacts_to


class Reactions:
    """Keeps accounts in step with users."""

    @reacts_to(UserErased)
    def on_user_erased(self, event: UserErased, session: Connection) -> None:
        """Nobody logs in or refreshes any more, and nothing personal is left here either."""
        accounts.remove(session, event.user_id)
        accounts.forget_sign_up(session, event.user_id)
