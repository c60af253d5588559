"""The log line of a request that came to no call: the request id a client quotes is found there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.telemetry import logs

if TYPE_CHECKING:
    from portico.gateway.exchange import Response

_MOST_CHARACTERS = 200

_log = logs.logger("portico.gateway")


def log_refusal(http_method: str, path: str, answer: Response) -> None:
    """One line at level info for an answer that says it is ``refused``; none for any other.

    ``path`` is without the query, which may hold what nobody should read. The connection's own
    answers have no request id.
    """
    if answer.refused and _log.enabled("info"):
        request_id = answer.header("x-request-id")
        _log.info(
            "refused",
            http_method=_shown(http_method),
            path=_shown(path),
            status=answer.status,
            reason=answer.refused,
            **({"request_id": request_id} if request_id else {}),
        )


def _shown(text: str) -> str:
    """What a client sent, short, and without what would move a terminal's cursor."""
    short = text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + "…"
    return short if short.isprintable() else short.encode("unicode_escape").decode("ascii")
