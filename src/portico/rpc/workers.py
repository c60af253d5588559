"""The threads that serve calls from the network."""

from __future__ import annotations

import threading
from collections import deque
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from portico.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logs.logger("portico.rpc")


class Task:
    """One piece of work, and whom to tell when it is done: the part of a ``Future`` that grpcio uses."""

    __slots__ = ("_callbacks", "_done", "_work")

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._done = False
        self._callbacks: deque[Callable[[Any], object]] = deque()

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        """Have ``fn`` called with this task when it is done; at once if it is."""
        self._callbacks.append(fn)
        if self._done:
            self._call_back()

    def run(self) -> None:
        """Do the work; whatever it raises is logged."""
        try:
            self._work()
        except BaseException:  # noqa: BLE001  # the next call needs this thread
            _log.exception("serving_failed")
        self._done = True
        self._call_back()

    def _call_back(self) -> None:
        """Call what is left to be called; of the two threads that may be here, each gets its own."""
        while self._callbacks:
            try:
                fn = self._callbacks.popleft()
            except IndexError:
                return
            fn(self)


class Workers:
    """A fixed number of threads that take work in the order it comes.

    In the place of a ``ThreadPoolExecutor``, whose futures and locks take as long as all that the
    kernel does around a call.
    """

    def __init__(self, threads: int) -> None:
        self._queue: SimpleQueue[Task | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"portico-grpc-{number}", daemon=True)
            for number in range(threads)
        ]

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[..., object], *args: Any, **kwargs: Any) -> Task:
        """Have ``fn`` called with the arguments, when its turn comes."""
        task = Task(partial(fn, *args, **kwargs))
        self._queue.put(task)
        return task

    def stop(self) -> None:
        """Let the threads end when they have done what is waiting; does not wait for that."""
        for _ in self._threads:
            self._queue.put(None)

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            task.run()
            del task  # an idle thread keeps no call alive
