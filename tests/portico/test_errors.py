"""The one error: what its constructors make, and that grpcio's own code can live with it."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import grpc
import pytest

from portico import errors
from portico.errors import StatusError, Violation

CONSTRUCTORS = [code for code in grpc.StatusCode if hasattr(errors, code.name.lower())]


@pytest.mark.parametrize("code", CONSTRUCTORS)
def test_a_constructor_makes_an_error_of_its_code(code: grpc.StatusCode) -> None:
    make = getattr(errors, code.name.lower())

    error = make("SOME_REASON", "in words", violations=[Violation("f", "d")], order_id="ord_1", n=2)

    assert error.code() is code
    assert (error.reason, error.message, error.details()) == ("SOME_REASON", "in words", "in words")
    assert error.metadata == {"order_id": "ord_1", "n": "2"}
    assert error.violations == (Violation("f", "d", ""),)
    assert make.__name__ == code.name.lower()
    assert code.name in make.__doc__


def test_every_code_that_a_servicer_may_mean_has_a_constructor() -> None:
    left_out = set(grpc.StatusCode) - set(CONSTRUCTORS)

    assert {code.name for code in left_out} == {"OK", "UNKNOWN", "DATA_LOSS"}


@pytest.fixture
def error() -> StatusError:
    return StatusError(
        grpc.StatusCode.NOT_FOUND,
        "there is no prod_1",
        reason="PRODUCT_NOT_FOUND",
        domain="shop.v1",
        metadata={"product_id": "prod_1"},
        violations=[Violation("product_id", "does not exist")],
        initial=(("head", "1"),),
        trailing=(("tail", "1"),),
    )


def test_it_is_grpcios_error_and_a_call_that_is_over(error: StatusError) -> None:
    assert isinstance(error, grpc.RpcError)
    assert isinstance(error, grpc.Call)
    assert isinstance(error, grpc.Future)
    assert error.initial_metadata() == (("head", "1"),)
    assert [key for key, _ in error.trailing_metadata()] == ["tail", "grpc-status-details-bin"]
    assert error.done()
    states = error.is_active(), error.running(), error.cancelled(), error.cancel()
    assert states == (False,) * 4
    assert error.time_remaining() is None
    assert not error.add_callback(print)
    assert error.exception() is error


def test_its_result_is_the_error_itself(error: StatusError) -> None:
    with pytest.raises(StatusError) as caught:
        error.result()

    assert caught.value is error


def test_it_has_a_traceback_though_it_was_never_raised(error: StatusError) -> None:
    assert error.traceback() is not None


def test_it_calls_back_at_once(error: StatusError) -> None:
    seen: list[Any] = []
    error.add_done_callback(seen.append)

    assert seen == [error]


def test_it_shows_all_that_it_knows(error: StatusError) -> None:
    shown = str(error)

    for part in ("NOT_FOUND", "PRODUCT_NOT_FOUND", "there is no prod_1", "product_id", "prod_1"):
        assert part in shown
    assert error.debug_error_string() == shown == repr(error)


@pytest.mark.parametrize(
    "twin",
    [
        pytest.param(lambda error: error.copy(), id="its own"),
        pytest.param(copy.copy, id="copy"),
        pytest.param(copy.deepcopy, id="deepcopy"),
        pytest.param(lambda error: pickle.loads(pickle.dumps(error)), id="pickle"),  # noqa: S301
    ],
)
def test_a_copy_has_the_same_content(error: StatusError, twin: Any) -> None:
    other = twin(error)

    assert other is not error
    assert str(other) == str(error)
    assert other.domain == error.domain
    assert other.initial_metadata() == error.initial_metadata()
    assert tuple(other.trailing_metadata()) == tuple(error.trailing_metadata())


def test_a_copy_has_no_traceback_of_the_original(error: StatusError) -> None:
    with pytest.raises(StatusError):
        raise error

    assert error.__traceback__ is not None
    assert error.copy().__traceback__ is None


class TestPassedOn:
    def test_it_has_the_headers_and_trailers_of_the_call_it_leaves(
        self, error: StatusError
    ) -> None:
        on = error.passed_on(domain="other.v1", initial=(("h", "2"),), trailing=(("t", "2"),))

        assert on.initial_metadata() == (("h", "2"),)
        assert on.trailing_metadata()[0] == ("t", "2")
        assert "tail" not in dict(on.trailing_metadata())

    def test_it_keeps_its_domain_or_gets_one_for_its_reason(self, error: StatusError) -> None:
        fresh = errors.not_found("GONE", "gone")
        plain = StatusError(grpc.StatusCode.NOT_FOUND, "gone")

        def domain(error: StatusError) -> str:
            return error.passed_on(domain="here.v1", initial=(), trailing=()).domain

        assert [domain(each) for each in (error, fresh, plain)] == ["shop.v1", "here.v1", ""]
