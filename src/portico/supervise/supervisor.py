"""All processes that one process runs: started in order, kept running, changed while they serve, stopped."""

from __future__ import annotations

import asyncio
import signal
from functools import partial
from typing import TYPE_CHECKING

from portico.supervise import orders
from portico.supervise.groups import Groups
from portico.supervise.keeper import DELAYS_SECONDS, Keeper, StartError
from portico.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from portico.supervise.child import ChildSpec
    from portico.supervise.output import Output

_log = logs.logger("portico.supervise")


class Supervisor:
    """Runs children, whatever they are, in an event loop of the main thread.

    SIGTERM asks a child to leave while others take over: it may serve its open connections for some
    more time. SIGINT asks it to end what it is doing and no more.
    """

    def __init__(
        self,
        *,
        output: Output,
        stop_seconds: float = 60.0,
        delays_seconds: Sequence[float] = DELAYS_SECONDS,
    ) -> None:
        """A child that has not ended ``stop_seconds`` after it was asked to is killed."""
        self._stop_seconds = stop_seconds
        self._keeper = partial(
            Keeper,
            output=output,
            delays_seconds=delays_seconds,
            on_ready=self._joined,
            on_end=self._left,
        )
        self._running: dict[str, Keeper] = {}
        self._leaving: list[Keeper] = []
        self._groups: Groups[Keeper] = Groups()

    def greeting(self, name: str) -> str:
        """What the child of this name said when it was ready; empty when it does not run."""
        keeper = self._running.get(name)
        return "" if keeper is None or keeper.child is None else keeper.child.greeting

    def pids(self) -> dict[str, int]:
        """The process id of each child that runs, by name."""
        return {
            name: keeper.child.pid
            for name, keeper in self._running.items()
            if keeper.child is not None
        }

    async def start(self, specs: Iterable[ChildSpec]) -> None:
        """Start them one after the other, each when the one before it is ready.

        StartError when one does not become ready; those before it run on until ``stop``.
        """
        for spec in specs:
            await self._start(spec)

    async def change(self, specs: Sequence[ChildSpec]) -> None:
        """Go over to ``specs`` while everything serves; returns when the last old child has ended.

        New children are started first. Then each one whose version is another gets its successor,
        and leaves when that one is ready. Those that are not wanted any more leave last, one after the
        other, beginning with what was started last.

        StartError when one does not become ready: then what has not been replaced by then stays.
        """
        wanted = {spec.name for spec in specs}
        gone = [keeper for name, keeper in self._running.items() if name not in wanted]
        leaving: list[asyncio.Task[None]] = []
        self._leaving += gone  # they get no new connections from now on
        try:
            for spec in [*self._new(specs), *self._changed(specs)]:
                old = self._running.get(spec.name)
                await self._start(spec, instead_of=old)
                if old is not None:
                    leaving.append(asyncio.create_task(self._leave(old)))
        except StartError:
            self._leaving = [keeper for keeper in self._leaving if keeper not in gone]
            self._steer_all()
            await asyncio.gather(*leaving)
            raise
        self._steer_all()
        await asyncio.gather(*leaving)
        for keeper in reversed(gone):
            del self._running[keeper.spec.name]
            await self._leave(keeper)
        self._running = {spec.name: self._running[spec.name] for spec in specs}

    async def stop(self) -> None:
        """End all children, the last one first."""
        ending = [
            keeper.stop(signal.SIGINT, seconds=self._stop_seconds) for keeper in self._leaving
        ]
        await asyncio.gather(*ending)
        for keeper in reversed([*self._running.values()]):
            await keeper.stop(signal.SIGINT, seconds=self._stop_seconds)
        self._running.clear()

    def kill(self) -> None:
        """End all children at once."""
        for keeper in [*self._leaving, *self._running.values()]:
            keeper.kill()

    def _new(self, specs: Sequence[ChildSpec]) -> list[ChildSpec]:
        return [spec for spec in specs if spec.name not in self._running]

    def _changed(self, specs: Sequence[ChildSpec]) -> list[ChildSpec]:
        return [
            spec
            for spec in specs
            if spec.name in self._running and self._running[spec.name].spec.version != spec.version
        ]

    async def _start(self, spec: ChildSpec, *, instead_of: Keeper | None = None) -> None:
        keeper = self._keeper(spec)
        if instead_of is not None:
            self._leaving.append(instead_of)
        self._running[spec.name] = keeper
        try:
            await keeper.start()
        except StartError:
            if instead_of is None:
                del self._running[spec.name]
            else:
                self._running[spec.name] = instead_of
                self._leaving.remove(instead_of)
            raise

    async def _leave(self, keeper: Keeper) -> None:
        await keeper.stop(signal.SIGTERM, seconds=self._stop_seconds)
        self._leaving.remove(keeper)
        _log.info("a process has left", process=keeper.spec.name)

    def _joined(self, keeper: Keeper) -> None:
        self._groups.join(keeper, keeper.spec.ports)
        self._steer(keeper.spec.ports)

    def _left(self, keeper: Keeper) -> None:
        ports = self._groups.ports(keeper)
        self._groups.leave(keeper)
        self._steer(ports)

    def _steer_all(self) -> None:
        self._steer({port for keeper in self._running.values() for port in keeper.spec.ports})

    def _steer(self, ports: Iterable[int]) -> None:
        """Have new connections to these ports go to those who stay."""
        for port in ports:
            staying = self._groups.without(self._leaving, port)
            told = next((each.child for each in staying.values() if each.child is not None), None)
            if told is not None:
                told.tell(orders.steering(port, [*staying]))
