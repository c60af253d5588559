"""Threads that run blocking work for an event loop."""

from __future__ import annotations

import asyncio
import threading
from queue import SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.resilience.admission import Admission

A = TypeVar("A")
T = TypeVar("T")


class OverloadedError(Exception):
    """All threads are busy and enough work waits for them."""


class _Job(NamedTuple):
    work: Callable[[Any], Any]
    argument: Any
    loop: asyncio.AbstractEventLoop
    outcome: asyncio.Future[Any]


class Workers:
    """``threads`` threads, and jobs that wait for one as long as ``admission`` lets them.

    The threads do not keep the process alive: a job that never ends is left behind at the end.
    """

    def __init__(self, *, name: str, threads: int, admission: Admission) -> None:
        self._admission = admission
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True)
            for number in range(threads)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Jobs that no thread has taken yet."""
        return self._queue.qsize()

    @property
    def refused(self) -> int:
        """Jobs that were refused, so far."""
        return self._admission.refused

    async def run(self, work: Callable[[A], T], argument: A) -> T:
        """``work(argument)`` in a thread; ``OverloadedError`` at once when it would wait too long."""
        if self._admission.refuses(self._queue.qsize()):
            raise OverloadedError
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()
        self._admission.arrived()
        self._queue.put(_Job(work, argument, loop, outcome))
        return await outcome

    def stop(self, seconds: float) -> bool:
        """End the threads after the jobs given so far; whether all have ended within ``seconds``."""
        for _ in self._threads:
            self._queue.put(None)
        until = monotonic() + seconds
        for thread in self._threads:
            thread.join(max(until - monotonic(), 0))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            self._admission.taken(self._queue.qsize())
            _do(job)
            del job  # an idle thread keeps no request alive


async def in_own_thread(work: Callable[[A], T], argument: A, *, name: str) -> T:
    """``work(argument)`` in a thread made for it: for work that waits long."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()
    job = _Job(work, argument, loop, outcome)
    threading.Thread(target=_do, args=(job,), name=name, daemon=True).start()
    return await outcome


def _do(job: _Job) -> None:
    try:
        result = job.work(job.argument)
    except BaseException as failure:  # noqa: BLE001  # whoever waits for it decides
        _tell(job, _fail, failure)
    else:
        _tell(job, _succeed, result)


def _tell(job: _Job, how: Callable[[asyncio.Future[Any], Any], None], outcome: object) -> None:
    try:
        job.loop.call_soon_threadsafe(how, job.outcome, outcome)
    except RuntimeError:  # the loop is closed: nobody waits any more
        return


def _succeed(outcome: asyncio.Future[Any], result: object) -> None:
    if not outcome.done():
        outcome.set_result(result)


def _fail(outcome: asyncio.Future[Any], failure: BaseException) -> None:
    if not outcome.done():
        outcome.set_exception(failure)
