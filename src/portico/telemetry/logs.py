"""Log lines: one JSON object a line on stderr, or text for a person at a terminal.

Every line carries ``timestamp``, ``level``, ``event`` and ``logger``; a line written inside a call also its
``module``, ``method``, ``request_id`` and ``trace_id``, and ``span_id`` where it is traced; every line of
a process of a topology the ``process``. What libraries log through the standard library
takes the same way out. Secrets and personal data are removed (``portico.telemetry.redaction``), and a
reader that stops reading does not stop the program (``LineStream``).
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Literal

import orjson
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.processors import ExceptionRenderer, format_exc_info
from structlog.tracebacks import ExceptionDictTransformer

from portico import context
from portico.clock import Clock, SystemClock
from portico.telemetry._stream import LineStream
from portico.telemetry.redaction import scrubbed, scrubbed_fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import EventDict

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "text"]

_DEBUG, _INFO, _WARNING, _ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR
_NUMBERS: dict[Level, int] = {"debug": _DEBUG, "info": _INFO, "warning": _WARNING, "error": _ERROR}
_STDERR = 2
_MAX_FRAMES = 20
# Their information is about themselves, and there is much of it; their warnings concern us. The number
# is the least they log when everything is asked for: below, SQLAlchemy prints every row it reads.
_TALKATIVE = {"alembic": _DEBUG, "grpc": _DEBUG, "sqlalchemy": _INFO}


class Logger:
    """Writes lines under one name. A line whose level is off costs a comparison."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def enabled(self, level: Level) -> bool:
        """Whether lines of this level are written: ask before computing costly fields."""
        return _NUMBERS[level] >= _output.threshold

    def debug(self, event: str, **fields: object) -> None:
        """For whoever looks for a mistake."""
        if _output.threshold <= _DEBUG:
            _output.emit("debug", self.name, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Something expected happened."""
        if _output.threshold <= _INFO:
            _output.emit("info", self.name, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Something is not as it should be, and the program copes."""
        if _output.threshold <= _WARNING:
            _output.emit("warning", self.name, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Something failed that somebody must look at; ``exc_info`` takes the exception, or True."""
        _output.emit("error", self.name, event, fields)

    def exception(self, event: str, **fields: object) -> None:
        """As ``error``, with the exception that is being handled."""
        _output.emit("error", self.name, event, {"exc_info": True, **fields})


def logger(name: str) -> Logger:
    """A logger for one Python module, best made at its top; it obeys later calls of ``configure``."""
    return Logger(name)


def configure(
    level: Level = "info",
    format: Format = "auto",
    *,
    descriptor: int = _STDERR,
    clock: Clock | None = None,
    process: str = "",
) -> None:
    """Set the process's one log output; a later call replaces it.

    ``auto`` is text when the descriptor is a terminal. ``process`` is the process of a topology, in
    every line unless it is empty. Until the first call, warnings and errors go to
    stderr as JSON.
    """
    global _output  # noqa: PLW0603  # a process has one stderr, and libraries log without asking us
    _output = _Output(level, format, descriptor, clock or SystemClock(), process)
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Forward)]:
        root.removeHandler(handler)
    root.addHandler(_Forward())
    root.setLevel(_output.threshold)
    for name, least in _TALKATIVE.items():
        logging.getLogger(name).setLevel(
            least if level == "debug" else max(_output.threshold, _WARNING)
        )
    # grpcio tells here, with a traceback, of every message that it cannot read; its sender gets an answer.
    logging.getLogger("grpc._common").setLevel(logging.CRITICAL)
    logging.captureWarnings(capture=True)


class _Output:
    """Turns what was logged into a line, and never fails the code that logs."""

    def __init__(
        self, level: Level, format: Format, descriptor: int, clock: Clock, process: str = ""
    ) -> None:
        self._everywhere = {"process": process} if process else {}
        self.threshold = _NUMBERS[level]
        self._clock = clock
        self._stream = LineStream(descriptor, gap=self._gap)
        terminal = os.isatty(descriptor)
        if format == "text" or (format == "auto" and terminal):
            self._render, self._with_exception = _text_renderer(colours=terminal), format_exc_info
        else:
            self._render, self._with_exception = orjson.dumps, _structured_exception

    def emit(self, level: str, name: str, event: str, fields: dict[str, object]) -> None:
        try:
            line = self._line(level, name, event, fields)
        except Exception as failure:  # noqa: BLE001  # a field that cannot be printed must not fail a call
            line = self._line(
                "error", __name__, "a line could not be made", {"of": name, "failure": failure}
            )
        self._stream.write(line)

    def _line(self, level: str, name: str, event: str, fields: EventDict) -> bytes:
        facts: EventDict = {
            "timestamp": self._now(),
            "level": level,
            "event": scrubbed(event),
            "logger": name,
            **self._everywhere,
        }
        call = context.current()
        if call.module:  # else nobody called: a start, a script
            facts["module"] = call.module
            facts["method"] = call.method
            facts["request_id"] = call.request_id
            facts["trace_id"] = call.trace_id
            if call.span is not None:
                facts["span_id"] = call.span.place.span_id
        if "exc_info" in fields:
            fields = self._with_exception(None, level, fields)
        return self._render({**facts, **scrubbed_fields(fields)})

    def _gap(self, lines: int) -> bytes:
        return self._line(
            "warning", __name__, "lines were dropped: nobody read them", {"lines": lines}
        )

    def _now(self) -> str:
        return self._clock.now().isoformat(timespec="microseconds").replace("+00:00", "Z")


_structured_exception = ExceptionRenderer(
    ExceptionDictTransformer(show_locals=False, max_frames=_MAX_FRAMES)
)


def _text_renderer(*, colours: bool) -> Callable[[EventDict], bytes]:
    console = ConsoleRenderer(colors=colours, exception_formatter=plain_traceback)
    return lambda facts: console(None, "", facts).encode("utf-8", "backslashreplace")


class _Forward(logging.Handler):
    """Where the standard library's records join."""

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, object] = {"exc_info": record.exc_info} if record.exc_info else {}
        try:
            event = record.getMessage()
        except Exception:  # noqa: BLE001  # arguments that do not fit: the library's mistake
            event = str(record.msg)
        _output.emit(record.levelname.lower(), record.name, event, fields)


_output = _Output("warning", "json", _STDERR, SystemClock())
