"""What several processes say, in one stream: every line tells who says it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from portico.telemetry._stream import LineStream

if TYPE_CHECKING:
    from collections.abc import Callable

_STDOUT, _STDERR = 1, 2
_LONGEST_LINE = 64 * 1024


class Output:
    """Passes lines on to this process's stdout and stderr; drops them while nobody reads, and says so."""

    def __init__(self, *, stdout: int = _STDOUT, stderr: int = _STDERR) -> None:
        self._streams = {
            _STDOUT: LineStream(stdout, gap=_gap),
            _STDERR: LineStream(stderr, gap=_gap),
        }

    def pass_on(self, name: str, line: bytes, *, error: bool) -> None:
        """Write what process ``name`` has said, on stderr if it was there that it said it."""
        self._streams[_STDERR if error else _STDOUT].write(marked(name, line))


class Lines:
    """Cuts a stream of bytes into lines; one that does not end is cut where it is too long."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take what came; every line that is whole by now is handed over."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line)
        if len(self._rest) > _LONGEST_LINE:
            self.end()

    def end(self) -> None:
        """Hand over what is left."""
        rest, self._rest = self._rest, b""
        if rest:
            self._take(rest)


def marked(name: str, line: bytes) -> bytes:
    """The line with its speaker: as the field ``process`` of a JSON object, else in front."""
    if line.startswith(b"{"):
        try:
            told = orjson.loads(line)
        except orjson.JSONDecodeError:
            pass
        else:
            return orjson.dumps(told | {"process": name})
    return b"%s | %s" % (name.encode(), line)


def _gap(lines: int) -> bytes:
    return b"supervisor | %d lines were dropped: nobody read them" % lines
