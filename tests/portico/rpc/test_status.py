"""Errors on the wire: what goes in comes out, and a foreign server's mistakes do no harm."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from portico.errors import StatusError, Violation
from portico.rpc.fitting import fitting
from portico.rpc.status import DETAILS_KEY, from_parts, from_rpc_error, to_status

if TYPE_CHECKING:
    from collections.abc import Sequence

CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
TEXT = st.text(max_size=30)
REASON = st.text(alphabet=string.ascii_uppercase + "_", min_size=1, max_size=20)

errors = st.builds(
    StatusError,
    st.sampled_from(CODES),
    TEXT,
    reason=st.one_of(st.just(""), REASON),
    domain=TEXT,
    metadata=st.dictionaries(TEXT, TEXT, max_size=3),
    violations=st.lists(st.builds(Violation, TEXT, TEXT, TEXT), max_size=3),
)


def content(error: StatusError) -> Any:
    return (
        error.code(),
        error.message,
        error.reason,
        error.metadata,
        error.violations,
    )


@given(errors)
def test_an_error_is_the_same_after_the_wire(error: StatusError) -> None:
    back = from_parts(error.code(), error.message, trailing=error.trailing_metadata())

    assert content(back) == content(error)
    if error.reason or error.metadata:
        assert back.domain == error.domain
    assert back.trailing_metadata() == error.trailing_metadata()


@given(errors)
def test_code_and_message_of_the_status_are_those_of_the_error(error: StatusError) -> None:
    status = to_status(error)

    assert status.code == error.code().value[0]
    assert status.message == error.message


@given(errors)
def test_a_plain_status_has_no_details(error: StatusError) -> None:
    typed = bool(error.reason or error.metadata or error.violations)

    assert bool(error.trailing_metadata()) == typed


def test_an_error_of_the_kernel_is_returned_as_it_is() -> None:
    error = StatusError(grpc.StatusCode.ABORTED, "as it is")

    assert from_rpc_error(error) is error


def test_a_bare_rpc_error_is_unknown() -> None:
    error = from_rpc_error(grpc.RpcError())

    assert (error.code(), error.message) == (grpc.StatusCode.UNKNOWN, "")


def _trailer(*details: Any) -> tuple[tuple[str, bytes], ...]:
    status = status_pb2.Status(code=9, message="theirs")
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return ((DETAILS_KEY, status.SerializeToString()),)


def test_details_of_unknown_kinds_are_kept() -> None:
    info = error_details_pb2.ErrorInfo(reason="BUSY", domain="other.v1")
    retry = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=3))
    trailing = _trailer(retry, info)

    error = from_parts(grpc.StatusCode.UNAVAILABLE, "busy", trailing=trailing)

    assert (error.reason, error.domain) == ("BUSY", "other.v1")
    assert error.trailing_metadata() == trailing


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"\xff\xff\xff", id="no status"),
        pytest.param(
            status_pb2.Status(
                details=[
                    any_pb2.Any(
                        type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff"
                    )
                ]
            ).SerializeToString(),
            id="no detail",
        ),
        pytest.param("text", id="no bytes"),
    ],
)
def test_details_that_cannot_be_read_do_not_hide_the_status(value: Any) -> None:
    error = from_parts(grpc.StatusCode.NOT_FOUND, "gone", trailing=((DETAILS_KEY, value),))

    assert (error.code(), error.message, error.reason) == (grpc.StatusCode.NOT_FOUND, "gone", "")


@given(
    st.builds(
        StatusError,
        st.sampled_from(CODES),
        st.text(max_size=3000),
        reason=REASON,
        metadata=st.dictionaries(
            st.text(alphabet=string.ascii_lowercase, min_size=1, max_size=20),
            st.text(max_size=2000),
            max_size=5,
        ),
        violations=st.lists(
            st.builds(Violation, st.text(max_size=400), st.text(max_size=400), REASON), max_size=40
        ),
    )
)
def test_an_error_that_was_cut_fits_what_a_client_accepts(error: StatusError) -> None:
    code, reason = error.code(), error.reason

    cut = fitting(error)

    assert (cut.code(), cut.reason) == (code, reason)
    details = dict(cut.trailing_metadata())[DETAILS_KEY]
    message = cut.message.encode()
    on_the_wire = len(details) * 4 / 3 + 3 * len(message)
    assert on_the_wire < 8000


@given(errors)
def test_an_error_of_ordinary_size_is_not_cut(error: StatusError) -> None:
    before = content(error)

    assert content(fitting(error)) == before


@pytest.mark.parametrize(
    ("many", "last"),
    [(3, "d 2"), (500, "and ")],
)
def test_violations_that_were_left_out_are_counted(many: int, last: str) -> None:
    violations: Sequence[Violation] = [Violation(f"f[{n}]", f"d {n}", "r") for n in range(many)]
    error = fitting(StatusError(grpc.StatusCode.INVALID_ARGUMENT, "", violations=violations))

    left = error.violations[-1].description
    assert left.startswith(last)
    if left.startswith("and "):
        assert left == f"and {many - len(error.violations) + 1} more"
