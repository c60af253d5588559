from __future__ import annotations

import json

from portico.supervise.output import Lines, marked


def test_text_gets_its_speaker_in_front() -> None:
    assert marked("payments", b"hello") == b"payments | hello"


def test_a_json_line_gets_its_speaker_as_a_field() -> None:
    assert json.loads(marked("payments", b'{"event": "x"}')) == {
        "event": "x",
        "process": "payments",
    }


def test_a_worker_is_told_from_its_siblings_that_call_themselves_the_same() -> None:
    line = marked("payments/2", b'{"process": "payments"}')
    assert json.loads(line) == {"process": "payments/2"}


def test_what_only_looks_like_json_is_text() -> None:
    assert marked("a", b'{"half": ') == b'a | {"half": '


def test_lines_are_cut_wherever_the_chunks_end() -> None:
    taken: list[bytes] = []
    lines = Lines(taken.append)
    for chunk in (b"on", b"e\ntwo\nth", b"ree", b"\n"):
        lines.feed(chunk)
    assert taken == [b"one", b"two", b"three"]


def test_a_last_line_without_its_end_is_not_lost() -> None:
    taken: list[bytes] = []
    lines = Lines(taken.append)
    lines.feed(b"one\ntwo")
    lines.end()
    lines.end()
    assert taken == [b"one", b"two"]


def test_a_line_that_never_ends_is_cut() -> None:
    taken: list[bytes] = []
    lines = Lines(taken.append)
    for _ in range(100):
        lines.feed(b"x" * 10_000)
    assert max(map(len, taken)) < 100_000
    assert sum(map(len, taken)) > 800_000
