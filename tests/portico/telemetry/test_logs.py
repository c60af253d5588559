from __future__ import annotations

import logging
import os
import pty
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

import orjson
import pytest

from portico.clock import ManualClock
from portico.context import entered, root
from portico.telemetry import logs

CLOCK = ManualClock(datetime(2026, 5, 29, 13, 7, tzinfo=UTC))


class Output:
    """A file that is the log for a while."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.path.read_bytes().splitlines()]

    def line(self) -> dict[str, Any]:
        (line,) = self.lines()
        return line


@contextmanager
def logging_to(
    path: Path, *, level: logs.Level = "info", format: logs.Format = "json"
) -> Iterator[Output]:
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    logs.configure(level=level, format=format, descriptor=descriptor, clock=CLOCK)
    try:
        yield Output(path)
    finally:
        os.close(descriptor)


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root_logger = logging.getLogger()
    level, handlers = root_logger.level, list(root_logger.handlers)
    yield
    logs.configure(level="warning", format="json")
    root_logger.setLevel(level)
    root_logger.handlers = handlers
    logging.captureWarnings(capture=False)


log = logs.logger("shop.till")


def test_a_line_is_one_json_object_with_its_four_facts(tmp_path: Path) -> None:
    with logging_to(tmp_path / "log") as output:
        log.info("paid", order_id="ord_1", amount=2)
    assert output.line() == {
        "timestamp": "2026-05-29T13:07:00.000000Z",
        "level": "info",
        "event": "paid",
        "logger": "shop.till",
        "order_id": "ord_1",
        "amount": 2,
    }


def test_a_line_inside_a_call_says_which(tmp_path: Path) -> None:
    call = root(module="orders")
    with logging_to(tmp_path / "log") as output, entered(call):
        log.info("paid")
    line = output.line()
    assert (line["module"], line["method"]) == ("orders", call.method)
    assert (line["request_id"], line["trace_id"]) == (call.request_id, call.trace_id)


def test_levels_below_the_least_one_are_not_written(tmp_path: Path) -> None:
    with logging_to(tmp_path / "log", level="warning") as output:
        log.debug("a")
        log.info("b")
        log.warning("c")
        log.error("d")
        assert (log.enabled("info"), log.enabled("warning")) == (False, True)
    assert [line["event"] for line in output.lines()] == ["c", "d"]


def test_a_logger_made_earlier_obeys_a_later_configuration(tmp_path: Path) -> None:
    with logging_to(tmp_path / "first", level="error") as first:
        log.info("a")
    with logging_to(tmp_path / "second", level="debug") as second:
        log.debug("b")
    assert (first.lines(), second.line()["event"]) == ([], "b")


def test_an_exception_is_structured_with_its_cause(tmp_path: Path) -> None:
    with logging_to(tmp_path / "log") as output:
        try:
            try:
                Path("/nowhere").stat()
            except OSError as missing:
                raise ValueError("Bearer abc") from missing
        except ValueError as failure:
            log.exception("first")
            log.error("second", exc_info=failure)
    for line in output.lines():
        outer, cause = line["exception"]
        assert (outer["exc_type"], outer["exc_value"]) == ("ValueError", "Bearer [redacted]")
        assert cause["exc_type"] == "FileNotFoundError"
        assert outer["frames"][0]["name"] == "test_an_exception_is_structured_with_its_cause"


def test_secrets_and_personal_data_are_not_written(tmp_path: Path) -> None:
    with logging_to(tmp_path / "log") as output:
        log.info("Bearer hunter2", password="hunter2", who={"email": "hunter2@example.com"})
    assert "hunter2" not in output.path.read_text()


@pytest.mark.parametrize("text", ["a\nb", "a\x00b", "\ud800", "ä\u2028", 'a"b\\'])
def test_no_text_breaks_the_line(tmp_path: Path, text: str) -> None:
    with logging_to(tmp_path / "log") as output:
        log.info(text, big=2**80, **{"strange key": text})
    assert output.line()["event"] == text.replace("\ud800", "?")
    assert output.path.read_bytes().count(b"\n") == 1


def test_a_field_that_cannot_be_printed_fails_no_call(tmp_path: Path) -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    with logging_to(tmp_path / "log") as output:
        log.info("paid", failure=Unprintable())
    line = output.line()
    assert (line["event"], line["of"]) == ("a line could not be made", "shop.till")
    assert line["failure"] == "RuntimeError: no"


class TestLibraries:
    def test_the_standard_librarys_records_take_the_same_way(self, tmp_path: Path) -> None:
        with logging_to(tmp_path / "log") as output:
            logging.getLogger("granian").warning("port %d", 8080)
        line = output.line()
        assert (line["level"], line["logger"], line["event"]) == ("warning", "granian", "port 8080")

    def test_their_exceptions_are_structured_too(self, tmp_path: Path) -> None:
        with logging_to(tmp_path / "log") as output:
            try:
                raise KeyError("k")
            except KeyError:
                logging.getLogger("grpc._server").exception("failed")
        assert output.line()["exception"][0]["exc_type"] == "KeyError"

    def test_talkative_ones_are_heard_from_warnings_on(self, tmp_path: Path) -> None:
        with logging_to(tmp_path / "log") as output:
            logging.getLogger("alembic.runtime.migration").info("Context impl")
            logging.getLogger("alembic.runtime.migration").warning("look")
        assert output.line()["event"] == "look"

    def test_arguments_that_do_not_fit_lose_no_record(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's own stumble over it
        with logging_to(tmp_path / "log") as output:
            logging.getLogger("granian").error("port %d", "x")
        assert output.line()["event"] == "port %d"

    def test_configuring_twice_writes_once(self, tmp_path: Path) -> None:
        with logging_to(tmp_path / "a"), logging_to(tmp_path / "b") as output:
            logging.getLogger("granian").warning("once")
        assert output.line()["event"] == "once"

    def test_warnings_become_lines(self, tmp_path: Path) -> None:
        with logging_to(tmp_path / "log") as output, warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(capture=False)  # catch_warnings put its own hook back
            logging.captureWarnings(capture=True)
            warnings.warn("old", DeprecationWarning, stacklevel=1)
        assert "DeprecationWarning: old" in output.line()["event"]


class TestText:
    def test_text_is_for_a_person(self, tmp_path: Path) -> None:
        with logging_to(tmp_path / "log", format="text") as output:
            try:
                raise ValueError("Bearer abc")
            except ValueError:
                log.exception("failed", order_id="ord_1", password="hunter2")
        text = output.path.read_text()
        assert "failed" in text
        assert "order_id=ord_1" in text
        assert "ValueError: Bearer [redacted]" in text
        assert "hunter2" not in text

    def test_auto_is_text_on_a_terminal_and_json_elsewhere(self, tmp_path: Path) -> None:
        reader, terminal = pty.openpty()
        logs.configure(format="auto", descriptor=terminal, clock=CLOCK)
        log.info("hello", port=1)
        assert b"{" not in os.read(reader, 4096)
        with logging_to(tmp_path / "log", format="auto") as output:
            log.info("hello")
        assert output.line()["event"] == "hello"
        os.close(reader)
        os.close(terminal)


class TestStalledReader:
    def test_lines_are_dropped_and_counted_and_none_is_torn(self) -> None:
        reading, writing = os.pipe()
        logs.configure(format="json", descriptor=writing, clock=CLOCK)
        for number in range(400):  # four times what a pipe holds
            log.info("x" * 600, number=number)
        received = os.read(reading, 1 << 20)
        log.info("after")
        os.close(writing)
        while part := os.read(reading, 1 << 20):
            received += part
        os.close(reading)
        lines = [orjson.loads(line) for line in received.splitlines()]
        written = [line["number"] for line in lines if "number" in line]
        (gap,) = [line for line in lines if line["event"].startswith("lines were dropped")]
        assert written == list(range(len(written)))
        assert gap["lines"] == 400 - len(written)
        assert lines[-1]["event"] == "after"

    def test_a_line_longer_than_a_pipe_arrives_whole_while_somebody_reads(self) -> None:
        reading, writing = os.pipe()
        received = bytearray()

        def read() -> None:
            while part := os.read(reading, 1000):
                received.extend(part)

        reader = Thread(target=read)
        reader.start()
        logs.configure(format="json", descriptor=writing, clock=CLOCK)
        log.info("long", parts=["x" * 8000] * 20)
        os.close(writing)
        reader.join()
        os.close(reading)
        assert len(orjson.loads(bytes(received))["parts"]) == 20

    def test_a_reader_that_is_gone_fails_nobody(self) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        logs.configure(format="json", descriptor=writing, clock=CLOCK)
        log.info("into the void")
        os.close(writing)
        log.info("into a closed descriptor")
