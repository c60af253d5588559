"""Requests at a steady rate, whatever becomes of them: each has its time, and none waits for another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_THREADS = 64


@dataclass(frozen=True)
class Sent:
    """One request. ``at`` is in seconds since the load began."""

    at: float
    seconds: float
    outcome: str
    """Empty when it went well, else what went wrong."""


class Load(AbstractContextManager["Load"]):
    """Calls ``send`` so many times a second until the block ends; ``send`` answers what went wrong, or ""."""

    def __init__(self, send: Callable[[], str], *, per_second: float) -> None:
        self._send = send
        self._pause = 1 / per_second
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(_THREADS)
        self._futures: list[Future[Sent]] = []
        self._thread = threading.Thread(target=self._pace)
        self._began = 0.0

    @property
    def now(self) -> float:
        """Seconds since the load began."""
        return time.monotonic() - self._began

    def sent(self, *, since: float = 0.0, until: float = float("inf")) -> list[Sent]:
        """The requests that have ended, of those that began in between."""
        ended = [future.result() for future in self._futures if future.done()]
        return [each for each in ended if since <= each.at < until]

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        self._pool.shutdown()

    def _pace(self) -> None:
        due = time.monotonic()
        while not self._over.is_set():
            self._futures.append(self._pool.submit(self._one))
            due += self._pause
            self._over.wait(max(due - time.monotonic(), 0))

    def _one(self) -> Sent:
        at = self.now
        try:
            outcome = self._send()
        except Exception as failure:  # noqa: BLE001  # whatever it is, it is what the client saw
            outcome = f"{type(failure).__name__}: {failure}"
        return Sent(at, self.now - at, outcome)


def failed(sent: Iterable[Sent]) -> list[Sent]:
    """Those that did not go well."""
    return [each for each in sent if each.outcome]


def quantile_ms(sent: Iterable[Sent], share: float) -> float:
    """The time within which this share of them ended, in milliseconds."""
    ordered = sorted(each.seconds for each in sent)
    return 1000 * ordered[min(int(len(ordered) * share), len(ordered) - 1)]
