"""Whose events another process may send."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.errors import permission_denied
from portico.rpc.hops import certifies

if TYPE_CHECKING:
    from collections.abc import Mapping

    import grpc

    from portico.events.outbox import Record


class Provenance:
    """A module's events come from the module alone, and from a process that runs it.

    ``modules`` has, for each package of a contract, the module that it belongs to; an event whose
    package nobody owns may be anybody's. With ``require_certificate`` the publishing module must be
    named in the certificate of the connection. Without it, whoever is let in at all is believed.
    """

    def __init__(self, modules: Mapping[str, str], *, require_certificate: bool) -> None:
        self._modules = dict(modules)
        self._require_certificate = require_certificate

    def check(self, record: Record, context: grpc.ServicerContext) -> None:
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
        if self._require_certificate and not certifies(context, publisher):
            raise permission_denied(
                "EVENT_OF_ANOTHER",
                f"the certificate of this connection is not one of module {publisher}",
                module=publisher,
                type=record.type,
            )
