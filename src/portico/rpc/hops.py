"""Calls from the other processes of a topology: whose they are, and whether that module may call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from portico import errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import grpc

    from portico.security.passport import Passport, Passports

MODULE_URI = "portico://module/"
"""What a certificate's URI names begin with, one for each module that its process runs."""

_NOBODY: frozenset[str] = frozenset()
_URIS = "peer_uri"


@dataclass(frozen=True, slots=True)
class Hops:
    """What a server for other processes knows of its callers.

    ``callers`` has, for the full name of each service, the modules that may call it: those that
    require it. With ``require_certificate`` a module must also be named in the certificate of the
    connection that its calls come over. A call without a passport is one from outside.
    """

    passports: Passports
    callers: Mapping[str, frozenset[str]]
    require_certificate: bool = False

    def callers_of(self, service: str) -> frozenset[str]:
        """The modules that may call ``service``."""
        return self.callers.get(service, _NOBODY)

    def admit(self, value: str, service: str, context: grpc.ServicerContext) -> Passport:
        """What the passport of a call to ``service`` says.

        Raises UNAUTHENTICATED with PASSPORT_INVALID, PERMISSION_DENIED with CALLER_NOT_CERTIFIED or
        CALLER_NOT_ALLOWED.
        """
        passport = self.passports.read(value, service)
        caller = passport.caller
        if caller not in self.callers_of(service):
            raise errors.permission_denied(
                "CALLER_NOT_ALLOWED",
                f"module {caller} does not require {service}",
                caller=caller,
                service=service,
            )
        if self.require_certificate and not certifies(context, caller):
            raise errors.permission_denied(
                "CALLER_NOT_CERTIFIED",
                f"the certificate of this connection is not one of module {caller}",
                caller=caller,
            )
        return passport


def certifies(context: grpc.ServicerContext, module: str) -> bool:
    """Whether the certificate at the other end of the connection names ``module``."""
    # types-grpcio has one value for each property; grpcio hands out a list
    uris = cast("Sequence[bytes]", context.auth_context().get(_URIS, ()))
    return f"{MODULE_URI}{module}".encode() in uris
