from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.telemetry.tracing import TraceParent, new_span_id, new_trace_id

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


def hexadecimal(digits: int) -> st.SearchStrategy[str]:
    return st.integers(1, 16**digits - 1).map(lambda number: f"{number:0{digits}x}")


@given(hexadecimal(32), hexadecimal(16), st.booleans())
def test_what_is_written_is_what_is_read(trace_id: str, span_id: str, sampled: bool) -> None:
    parent = TraceParent(trace_id, span_id, sampled)
    assert TraceParent.parse(str(parent)) == parent


def test_the_header_is_the_one_of_the_standard() -> None:
    assert str(TraceParent(TRACE, SPAN, sampled=True)) == f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_a_malformed_header_begins_no_trace(header: str) -> None:
    assert TraceParent.parse(header) is None


def test_a_later_version_may_say_more() -> None:
    assert TraceParent.parse(f"01-{TRACE}-{SPAN}-03-more") == TraceParent(TRACE, SPAN, sampled=True)


@given(st.text(max_size=80))
def test_no_text_is_too_strange_to_refuse(header: str) -> None:
    assert TraceParent.parse(header) is None


def test_ids_have_their_length_and_are_never_zero() -> None:
    assert new_trace_id(random_bits=lambda _: 0) == "0" * 31 + "1"
    assert new_span_id(random_bits=lambda _: 0) == "0" * 15 + "1"
    assert new_trace_id(random_bits=lambda bits: 2**bits - 1) == "f" * 32
    assert new_span_id(random_bits=lambda bits: 2**bits - 1) == "f" * 16


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # the child does nothing else
def test_a_forked_child_draws_other_ids() -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, new_trace_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 64).decode() != new_trace_id()
    os.close(reading)
    os.close(writing)
