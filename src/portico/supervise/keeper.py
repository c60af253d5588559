"""One process that shall run: started again when it ends, later and later when that does not help."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from portico.supervise.child import Child
from portico.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from portico.supervise.child import ChildSpec
    from portico.supervise.output import Output

DELAYS_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""How long to wait before starts that follow each other; the last one goes on."""
_STEADY_SECONDS = 30.0

_log = logs.logger("portico.supervise")


class StartError(Exception):
    """A process did not become ready; the message names it and says what became of it."""


class Keeper:
    """Runs what ``spec`` says until it is told to end."""

    def __init__(
        self,
        spec: ChildSpec,
        *,
        output: Output,
        delays_seconds: Sequence[float] = DELAYS_SECONDS,
        steady_seconds: float = _STEADY_SECONDS,
        on_ready: Callable[[Keeper], None] = lambda _: None,
        on_end: Callable[[Keeper], None] = lambda _: None,
    ) -> None:
        """A run of ``steady_seconds`` forgets earlier ends. ``on_ready`` and ``on_end`` are called for each run."""
        self.spec = spec
        self.child: Child | None = None
        self._output = output
        self._delays = delays_seconds
        self._steady_seconds = steady_seconds
        self._on_ready = on_ready
        self._on_end = on_end
        self._leaving = False
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when it is ready; StartError when it does not become so."""
        began = monotonic()
        child = self.child = Child(self.spec, output=self._output)
        if not await child.is_ready():
            raise StartError(f"{self.spec.name} {await _given_up(child)}")
        self._welcome(child, began)
        self._keeping = asyncio.create_task(self._keep(child, began))

    async def stop(self, number: signal.Signals, *, seconds: float) -> None:
        """Send the signal and wait until it has ended; after ``seconds`` it is killed."""
        self._leaving = True
        child = self.child
        if child is not None:
            child.send(number)
            try:
                async with asyncio.timeout(seconds):
                    await child.end()
            except TimeoutError:
                _log.error("a process was killed: it did not end", process=self.spec.name)
                child.send(signal.SIGKILL)
                await child.end()
        if self._keeping is not None:
            self._keeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeping

    def kill(self) -> None:
        """End it at once."""
        self._leaving = True
        if self.child is not None:
            self.child.send(signal.SIGKILL)

    async def _keep(self, child: Child, began: float) -> None:
        failures = 0
        ended: Child | None = child
        while True:
            why = "it could not be started" if ended is None else reason(await ended.end())
            if ended is not None:
                self.child = None
                self._on_end(self)
            if self._leaving:
                return
            failures = 1 if monotonic() - began >= self._steady_seconds else failures + 1
            delay = self._delays[min(failures, len(self._delays)) - 1]
            _log.error(
                "a process ended by itself and is started again",
                process=self.spec.name,
                why=why,
                in_seconds=delay,
            )
            await asyncio.sleep(delay)
            began = monotonic()
            ended = await self._again()

    async def _again(self) -> Child | None:
        """The child, which is ready or has ended; None when the machine has no room for another process."""
        began = monotonic()
        try:
            child = self.child = Child(self.spec, output=self._output)
        except OSError:
            _log.exception("a process could not be started", process=self.spec.name)
            return None
        if await child.is_ready():
            self._welcome(child, began)
        else:
            await _given_up(child)
        return child

    def _welcome(self, child: Child, began: float) -> None:
        _log.info(
            "a process is ready",
            process=self.spec.name,
            pid=child.pid,
            seconds=round(monotonic() - began, 2),
        )
        self._on_ready(self)


def reason(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


async def _given_up(child: Child) -> str:
    """Make sure that a child which is not ready has ended; what became of it."""
    ending = asyncio.create_task(child.end())
    done, _ = await asyncio.wait({ending}, timeout=0.1)
    if done:
        return f"ended before it was ready ({reason(await ending)})"
    child.send(signal.SIGKILL)
    await ending
    return f"was not ready within {child.spec.patience_seconds:g} s"
