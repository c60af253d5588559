"""What the laboratory measures: one servicer as small as a servicer can be, and everything on around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from portico.clock import SystemClock
from portico.context import Identity
from portico.lab.v1 import hop_pb2, hop_pb2_grpc
from portico.rpc.policy import Policy
from portico.security.tokens import TokenAuthenticator, TokenSigner
from portico.telemetry.metrics import Metrics

if TYPE_CHECKING:
    import grpc

MODULE = "lab"
USER = Identity("usr_lab")

_ISSUER = "portico.lab"
_KEY_ID = "lab"
_LIFETIME_SECONDS = 3600
_TIMEOUT_SECONDS = 10.0


class Hop(hop_pb2_grpc.HopServiceServicer):
    """Gives back what it was given."""

    def Hop(  # noqa: N802  # the contract's name
        self, request: hop_pb2.HopRequest, context: grpc.ServicerContext
    ) -> hop_pb2.HopResponse:
        """The request's content."""
        return hop_pb2.HopResponse(caller_id=request.caller_id, number=request.number)


def a_request() -> hop_pb2.HopRequest:
    """A valid request of ordinary content."""
    return hop_pb2.HopRequest(caller_id="usr_8923a10f", number=42)


def everything_on() -> tuple[Policy, str]:
    """A production's rules, and the ``authorization`` of a user who is signed in under them.

    Sign-in with Ed25519 tokens, validation, deadlines, metrics, error translation; a line in the log
    for calls that fail only.
    """
    key, clock = Ed25519PrivateKey.generate(), SystemClock()
    signer = TokenSigner(
        key=key, key_id=_KEY_ID, issuer=_ISSUER, lifetime_seconds=_LIFETIME_SECONDS, clock=clock
    )
    public = key.public_key()
    policy = Policy(
        authenticate=TokenAuthenticator(
            keys=lambda: {_KEY_ID: public}, issuer=_ISSUER, clock=clock
        ),
        default_timeout_seconds=_TIMEOUT_SECONDS,
        observers=Metrics(),
    )
    return policy, f"Bearer {signer.sign(USER)}"
