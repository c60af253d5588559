"""gRPC's service config for a target: load balancing, health checks, and which rpcs are tried again.

An rpc is tried again when its contract says that a repeat does no harm (``idempotency_level``
NO_SIDE_EFFECTS or IDEMPOTENT) and the answer was UNAVAILABLE. The throttle is for the whole target: each
failure takes a token, and with half of them gone nothing is tried again until calls succeed.

An INTERNAL command is left alone all the same. Only a workflow's step or a relay makes it: they repeat it
themselves, and have to know of every attempt: one whose answer was lost may have happened although the next
one is refused.

The config's own ``timeout`` is left out: grpcio's client lets it fire early and its server never hears of
it. Source: https://github.com/grpc/grpc/blob/master/doc/service_config.md and gRFC A6.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import MethodOptions

from portico.v1 import options_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from portico.resilience.settings import RemoteSettings

_REPEATABLE = (MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT)


def service_config(services: Iterable[str], settings: RemoteSettings, *, check_health: bool) -> str:
    """The config as JSON. A service whose contract is not known here is never tried again.

    ``check_health``: leave out addresses whose server says that it does not serve.
    """
    found: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if check_health:
        found["healthCheckConfig"] = {"serviceName": ""}
    names = [{"service": service, "method": name} for service, name in repeatable(services)]
    if names and settings.attempts > 1:
        found["methodConfig"] = [{"name": names, "retryPolicy": _retry_policy(settings)}]
        found["retryThrottling"] = {
            "maxTokens": settings.retry_tokens,
            "tokenRatio": settings.retry_token_ratio,
        }
    return json.dumps(found)


def repeatable(services: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The rpcs that may be tried again, as service and method name."""
    pool = descriptor_pool.Default()
    for service in services:
        try:
            described = pool.FindServiceByName(service)
        except KeyError:
            continue
        for method in described.methods:
            options = method.GetOptions()
            if options.idempotency_level in _REPEATABLE and not _is_internal_command(options):
                yield service, method.name


def _is_internal_command(options: MethodOptions) -> bool:
    if options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS:
        return False
    return options.Extensions[options_pb2.method].access == options_pb2.INTERNAL


def _retry_policy(settings: RemoteSettings) -> dict[str, Any]:
    return {
        "maxAttempts": settings.attempts,
        "initialBackoff": _seconds(settings.first_backoff_ms),
        "maxBackoff": _seconds(settings.most_backoff_ms),
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.3f}s"
