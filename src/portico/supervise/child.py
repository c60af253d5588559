"""One run of a program beside us: started, heard, waited for."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from portico.data.launcher import launched
from portico.supervise.output import Lines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from portico.supervise.output import Output

_LAST_WORDS_SECONDS = 1.0
_LONGEST_GREETING = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class ChildSpec:
    """What to run, and how it says that it is ready: by a line on stdout in which ``ready`` is found.

    ``environment`` is all of it, None that of this process. ``descriptors`` are inherited. ``ports`` are
    those that it shares with others; a child that has any understands ``portico.supervise.orders``. Two
    specs with one name and one ``version`` are the same process: it is not replaced by the other.
    """

    name: str
    command: tuple[str, ...]
    version: str = ""
    environment: Mapping[str, str] | None = None
    descriptors: tuple[int, ...] = ()
    ports: tuple[int, ...] = ()
    ready: str = r"is ready$"
    patience_seconds: float = 60.0


class Child:
    """A program that runs. On Linux it gets SIGTERM when this process ends without stopping it, by ``kill -9`` too.

    It has a session of its own: Ctrl-C in the terminal does not reach it. To be used in the event
    loop's main thread, whose end the kernel takes for the end of this process.
    """

    def __init__(self, spec: ChildSpec, *, output: Output) -> None:
        """Start it. OSError when there is no such program."""
        self.spec = spec
        self.greeting = ""
        """What it said on stdout until it was ready, and in that same moment."""
        loop = asyncio.get_running_loop()
        self._output = output
        self._ready: asyncio.Future[bool] = loop.create_future()
        self._ended: asyncio.Future[int] = loop.create_future()
        self._pattern = re.compile(spec.ready, re.MULTILINE)
        self._before = b""
        self._process = subprocess.Popen(
            launched(spec.command, account=None, farewell=signal.SIGTERM),
            env=spec.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=spec.descriptors,
            start_new_session=True,
        )
        os.set_blocking(_descriptor(self._process.stdin), False)
        self._living = asyncio.create_task(self._live())
        threading.Thread(
            target=self._wait, args=(loop,), name=f"wait-{spec.name}", daemon=True
        ).start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def is_ready(self) -> bool:
        """Wait until it is ready; False when it ends before, or takes too long."""
        either: set[asyncio.Future[Any]] = {self._ready, self._living}
        await asyncio.wait(
            either, timeout=self.spec.patience_seconds, return_when=asyncio.FIRST_COMPLETED
        )
        return self._ready.done() and not self._living.done()

    async def end(self) -> int:
        """Wait until it has ended and everything that it said was passed on; the exit code, -9 for SIGKILL."""
        return await asyncio.shield(self._living)

    def tell(self, order: bytes) -> None:
        """Write to its stdin; one that does not read is not waited for."""
        if not self._ended.done():
            with suppress(OSError):
                os.write(_descriptor(self._process.stdin), order)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens when it has ended."""
        self._process.send_signal(number)

    async def _live(self) -> int:
        loop = asyncio.get_running_loop()
        heard = Lines(lambda line: self._pass_on(line, error=False))
        errors = Lines(lambda line: self._pass_on(line, error=True))
        pipes = [
            await loop.connect_read_pipe(
                lambda: _Listener(lambda data: self._hear(heard, data), heard.end),
                self._process.stdout,
            ),
            await loop.connect_read_pipe(
                lambda: _Listener(errors.feed, errors.end), self._process.stderr
            ),
        ]
        listeners: list[_Listener] = [protocol for _, protocol in pipes]
        code = await self._ended
        if not self._ready.done():
            heard.feed(self._before)
        # A grandchild may hold the pipes open for long.
        await asyncio.wait([each.closed for each in listeners], timeout=_LAST_WORDS_SECONDS)
        for transport, _ in pipes:
            transport.close()
        with suppress(OSError):
            _pipe(self._process.stdin).close()
        await asyncio.sleep(0)  # the transports close in the next turn
        return code

    def _hear(self, heard: Lines, data: bytes) -> None:
        """Keep what it says until it is ready, for a greeting; later it is passed on."""
        if self._ready.done():
            # A program that does not buffer sends the end of the greeting's last line by itself.
            heard.feed(data if self._before.endswith(b"\n") else data.removeprefix(b"\n"))
            self._before = b"\n"
            return
        self._before = (self._before + data)[-_LONGEST_GREETING:]
        text = self._before.decode("utf-8", "replace")
        if self._pattern.search(text):
            self.greeting = text.rstrip("\n")
            self._ready.set_result(True)

    def _pass_on(self, line: bytes, *, error: bool) -> None:
        self._output.pass_on(self.spec.name, line, error=error)

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        code = self._process.wait()
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(self._ended.set_result, code)


class _Listener(asyncio.Protocol):
    """Hands over what comes through a pipe, and tells when nothing more will."""

    def __init__(self, take: Callable[[bytes], None], end: Callable[[], None]) -> None:
        self._take = take
        self._end = end
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        """Hand it over."""
        self._take(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Hand over what is left."""
        self._end()
        if not self.closed.done():
            self.closed.set_result(None)


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("the child was started without this pipe")
    return pipe


def _descriptor(pipe: IO[bytes] | None) -> int:
    return _pipe(pipe).fileno()
