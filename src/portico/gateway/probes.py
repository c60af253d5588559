"""What an orchestrator and Prometheus ask: ``/healthz``, ``/readyz``, ``/metrics``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.gateway.exchange import Response
from portico.gateway.problem import JSON_HEADERS, dumps
from portico.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from portico.gateway.exchange import Request

ALIVE, READY, METRICS = "/healthz", "/readyz", "/metrics"

_log = logs.logger("portico.gateway")


class Probes:
    """The program's own addresses. Without ``metrics`` there is no ``/metrics``."""

    def __init__(
        self,
        not_ready: Callable[[], Sequence[str]],
        metrics: Callable[[], tuple[bytes, str]] | None,
    ) -> None:
        self._not_ready = not_ready
        self._metrics = metrics

    def answer(self, request: Request) -> Response | None:
        """The answer, or None when something else was asked for."""
        if request.method not in {"GET", "HEAD"}:
            return None
        if request.path == ALIVE:
            return alive()
        if request.path == READY:
            return self._readiness()
        if request.path == METRICS and self._metrics is not None:
            body, content_type = self._metrics()
            return Response(200, [("content-type", content_type)], body)
        return None

    def _readiness(self) -> Response:
        try:
            missing = list(self._not_ready())
        except Exception as failure:  # noqa: BLE001  # not being able to tell is not being ready
            _log.error("readiness_failed", exc_info=failure)
            missing = ["readiness"]
        if missing:
            return Response(
                503, [*JSON_HEADERS], dumps({"status": "not ready", "notReady": missing})
            )
        return Response(200, [*JSON_HEADERS], dumps({"status": "ready"}))


def alive() -> Response:
    """The process runs; nothing else is said."""
    return Response(200, [*JSON_HEADERS], dumps({"status": "alive"}))
