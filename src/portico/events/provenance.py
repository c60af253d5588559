"""Whose events another process may send."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.errors import permission_denied

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from portico.events.outbox import Record

    Certified = Callable[[str], bool]
    """Whether whoever sends something has a certificate of a module."""


class Provenance:
    """A module's events come from the module alone, and from a process that runs it.

    ``modules`` has, for each package of a contract, the module that it belongs to; an event whose
    package nobody owns may be anybody's. With ``require_certificate`` the publishing module must be
    named in the sender's certificate. Without it, whoever is let in at all is believed.
    """

    def __init__(self, modules: Mapping[str, str], *, require_certificate: bool) -> None:
        self._modules = dict(modules)
        self._require_certificate = require_certificate

    def check(self, record: Record, certified: Certified) -> None:
        """Raise PERMISSION_DENIED with EVENT_OF_ANOTHER unless the event is its sender's to send."""
        publisher = record.aggregate_type
        owner = self._modules.get(record.type.rpartition(".")[0], publisher)
        if owner != publisher:
            raise permission_denied(
                "EVENT_OF_ANOTHER",
                f"module {publisher} cannot have published {record.type}, which is {owner}'s",
                module=publisher,
                type=record.type,
            )
        if self._require_certificate and not certified(publisher):
            raise permission_denied(
                "EVENT_OF_ANOTHER",
                f"whoever sends it has no certificate of module {publisher}",
                module=publisher,
                type=record.type,
            )
