"""What whoever starts the shop should know about its accounts."""

from __future__ import annotations

from emporium.auth.published import USER_IDS, PublishedAccounts
from emporium.auth.settings import AuthSettings
from emporium.auth.store import accounts
from portico.data import Database
from portico.telemetry import logs

_log = logs.logger("emporium.auth")


class Advice:
    """Warns of accounts that an earlier demonstration has left in the database."""

    def __init__(
        self, *, database: Database, published: PublishedAccounts, settings: AuthSettings
    ) -> None:
        self._database = database
        self._published = published
        self._access_seconds = settings.access_lifetime_seconds

    def give(self) -> None:
        """Name those that are there and kept out."""
        if self._published.are_open:
            return
        with self._database.reading() as session:
            left = accounts.known(session, sorted(USER_IDS))
        if left:
            _log.warning(
                "accounts of the demonstration are in this database; this process lets none of them"
                " in, but access tokens that they got before are good until they expire",
                user_ids=sorted(left),
                access_lifetime_seconds=self._access_seconds,
            )
