"""The threads that serve calls from the network."""

from __future__ import annotations

import threading
from collections import deque
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from portico.resilience.admission import Admission
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
    kernel does around a call. ``admission`` says when work that comes should rather not be submitted.
    """

    def __init__(self, threads: int, *, admission: Admission | None = None) -> None:
        self._admission = admission or Admission.of_everything()
        self._queue: SimpleQueue[Task | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"portico-grpc-{number}", daemon=True)
            for number in range(threads)
        ]

    @property
    def waiting(self) -> int:
        """Tasks that no thread has taken yet."""
        return self._queue.qsize()

    @property
    def refused(self) -> int:
        """How often ``refuse`` has said yes."""
        return self._admission.refused

    def refuse(self) -> bool:
        """Whether work that comes now would wait too long; it is counted as refused then."""
        return self._admission.refuses(self._queue.qsize())

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[..., object], *args: Any, **kwargs: Any) -> Task:
        """Have ``fn`` called with the arguments, when its turn comes."""
        task = Task(partial(fn, *args, **kwargs))
        self._admission.arrived()
        self._queue.put(task)
        return task

    def stop(self) -> None:
        """Let the threads end when they have done what is waiting; does not wait for that."""
        for _ in self._threads:
            self._queue.put(None)

    def _work(self) -> None:
        queue, taken = self._queue, self._admission.taken
        while (task := queue.get()) is not None:
            taken(queue.qsize())
            task.run()
            del task  # an idle thread keeps no call alive
