"""A supervisor under the orders of an operator: signals in, an exit code out."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from portico.supervise.keeper import StartError
from portico.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from portico.supervise.child import ChildSpec
    from portico.supervise.supervisor import Supervisor

    Signals = asyncio.Queue[signal.Signals]

_FOLLOWED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_log = logs.logger("portico.supervise")


class ChangeRefusedError(Exception):
    """What shall run now cannot be told; the message says why. What runs stays."""


async def run(
    supervisor: Supervisor,
    plan: Callable[[], Sequence[ChildSpec]],
    *,
    announce: Callable[[], None] = lambda: None,
    changed: Callable[[], None] = lambda: None,
    closing: Callable[[], None] = lambda: None,
) -> int:
    """Run what ``plan`` says until SIGINT or SIGTERM, and what it says by then at SIGHUP; the exit code.

    A second SIGINT or SIGTERM ends everything at once. ``announce`` is called when all are ready,
    ``changed`` when a change is through, ``closing`` before they are stopped. ``plan`` may raise
    ``ChangeRefusedError`` from its second call on.
    """
    loop = asyncio.get_running_loop()
    told: Signals = asyncio.Queue()
    for number in _FOLLOWED:
        loop.add_signal_handler(number, told.put_nowait, number)
    try:
        return await _run(supervisor, plan, announce, changed, closing, told)
    finally:
        for number in _FOLLOWED:
            loop.remove_signal_handler(number)


async def _run(
    supervisor: Supervisor,
    plan: Callable[[], Sequence[ChildSpec]],
    announce: Callable[[], None],
    changed: Callable[[], None],
    closing: Callable[[], None],
    told: Signals,
) -> int:
    try:
        if await _unless_told(supervisor.start(plan()), told):
            announce()
            while await told.get() is signal.SIGHUP:
                if not await _unless_told(_change(supervisor, plan, changed), told):
                    break
    except StartError as failure:
        _log.error("the start was given up", why=str(failure))
        return 1
    finally:
        closing()
        await _stop(supervisor, told)
    return 0


async def _change(
    supervisor: Supervisor,
    plan: Callable[[], Sequence[ChildSpec]],
    changed: Callable[[], None],
) -> None:
    try:
        await supervisor.change(plan())
    except (ChangeRefusedError, StartError) as failure:
        _log.error("the change was given up; mend it and send SIGHUP again", why=str(failure))
    except Exception:  # noqa: BLE001  # a taken port, a migration: whatever it is, what serves goes on
        _log.exception("the change was given up; mend it and send SIGHUP again")
    else:
        changed()


async def _unless_told(work: Coroutine[None, None, None], told: Signals) -> bool:
    """Do the work to its end; False when it was given up because it was told to stop."""
    working = asyncio.ensure_future(work)
    again = False
    while not working.done():
        asked = asyncio.ensure_future(told.get())
        await asyncio.wait({working, asked}, return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():
            asked.cancel()
        elif asked.result() is signal.SIGHUP:
            again = True
        else:
            working.cancel()
            await asyncio.wait({working})
            return False
    if again:
        told.put_nowait(signal.SIGHUP)
    await working
    return True


async def _stop(supervisor: Supervisor, told: Signals) -> None:
    """Stop in good order; at once when told again."""
    stopping = asyncio.ensure_future(supervisor.stop())
    while not stopping.done():
        asked = asyncio.ensure_future(told.get())
        await asyncio.wait({stopping, asked}, return_when=asyncio.FIRST_COMPLETED)
        if asked.done() and asked.result() is not signal.SIGHUP:
            supervisor.kill()
        asked.cancel()
    await stopping
