"""An HTTP request and its answer, without a transport."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Request:
    """One request. ``path`` is as it was sent, still percent-encoded; ``query`` too, without "?".

    Header names are lower case. ``body`` is whole.
    """

    method: str
    path: str
    query: str = ""
    headers: Headers = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The first header called ``name`` (lower case), or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


@dataclass(frozen=True, slots=True)
class Response:
    """One answer: ``body``, or for a stream the ``chunks`` that come as they are ready.

    Whoever stops reading ``chunks`` early calls ``close``. ``refused`` is the reason of an answer that
    the gateway gave itself, to a request that came to no call.
    """

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    chunks: Iterator[bytes] | None = None
    close: Callable[[], None] = lambda: None
    refused: str = ""

    def header(self, name: str) -> str | None:
        """The first header called ``name`` (lower case), or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None
