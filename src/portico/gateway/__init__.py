"""REST for gRPC services: requests are transcoded by the ``google.api.http`` rules of the contracts.

Where the rules leave room, Envoy's transcoder is followed. ``Gateway`` is the transcoder without a
transport; ``HttpServer`` serves one.
"""

from __future__ import annotations

from portico.gateway.exchange import Request, Response
from portico.gateway.gateway import Gateway
from portico.gateway.limits import Limits
from portico.gateway.listener import inherited, listen
from portico.gateway.server import HttpServer

__all__ = ["Gateway", "HttpServer", "Limits", "Request", "Response", "inherited", "listen"]
