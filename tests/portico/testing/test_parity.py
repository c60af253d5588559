"""The comparison itself: it sees what differs, down to one field, and what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as stubs

from portico.errors import StatusError
from portico.testing import parity
from portico.testing.cases import Case, Group, Table
from portico.testing.running import Result, Runner
from portico.testing.score import Score
from portico.testing.sharing import SharedMessageChangedError
from portico.testing.transports import EVERY, TRANSPORTS, Stand

if TYPE_CHECKING:
    from collections.abc import Iterator

UNUSED: Any = lambda *_: None  # noqa: E731  # of whatever type a method has
LOCAL = ("servicer", "local", "shared")


class Servicer(stubs.GreeterServiceServicer):
    """Answers otherwise when it is called in its own process: what a kernel must not do."""

    planted = ""

    def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
        local = context.peer().startswith("inproc")
        if self.planted == "trailers":
            context.set_trailing_metadata((("key", "local" if local else "remote"),))
        if self.planted == "code":
            context.abort(
                grpc.StatusCode.ABORTED if local else grpc.StatusCode.NOT_FOUND, "the same"
            )
        if self.planted == "request":
            request.name = "changed"
        return pb.SayHelloResponse(message="near" if local and self.planted == "message" else "far")

    Repeat = Gather = Chat = UNUSED


def populate(registrar: Any) -> Servicer:
    servicer = Servicer()
    stubs.add_GreeterServiceServicer_to_server(servicer, registrar)
    return servicer


def _saying(planted: str) -> Any:
    def script(stand: Stand) -> Any:
        stand.servicer.planted = planted
        stub = stubs.GreeterServiceStub(stand.channel)

        def call() -> Any:
            response, call = stub.SayHello.with_call(pb.SayHelloRequest(), timeout=20)
            return {"message": response.message, **parity.ended(call)}

        return parity.told(call)

    return script


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with Runner() as runner:
        yield runner


@pytest.fixture
def group() -> Group:
    return Group(name="greeter", populate=populate, stay=True)


def _only(group: Group, script: Any, **options: Any) -> Case:
    group.add("case", script, **options)
    return group.cases[-1]


@pytest.mark.parametrize(
    ("planted", "path"),
    [("message", "value.message"), ("trailers", "value.trailing[0]"), ("code", "code")],
)
def test_a_planted_difference_is_found_where_it_is(
    runner: Runner, group: Group, planted: str, path: str
) -> None:
    found = runner.run(_only(group, _saying(planted))).differences

    assert [(each.transport, each.path) for each in found] == [(name, path) for name in LOCAL]


def test_no_difference_is_found_where_there_is_none(runner: Runner, group: Group) -> None:
    result = runner.run(_only(group, _saying("")))

    assert result.differences == []
    assert result.missing == ()
    assert tuple(result.outcomes) == EVERY


def test_what_all_transports_agree_on_must_still_be_what_the_case_says(
    runner: Runner, group: Group
) -> None:
    expects = {"value.message": "near"}
    found = runner.run(_only(group, _saying(""), expects=expects)).differences

    assert [(each.transport, each.path) for each in found] == [
        (name, "value.message") for name in EVERY
    ]


def test_a_script_that_fails_everywhere_is_no_agreement(runner: Runner, group: Group) -> None:
    def script(_: Stand) -> Any:
        raise KeyError("of the script")

    result = runner.run(_only(group, script))

    assert [each.transport for each in result.differences] == list(EVERY)
    assert "of the script" in str(result.differences[0])


def test_a_shared_message_that_is_changed_is_a_difference(runner: Runner) -> None:
    group = Group(name="changing", populate=populate)
    found = runner.run(_only(group, _saying("request"))).differences

    assert [each.transport for each in found] == ["shared"]
    assert SharedMessageChangedError.__name__ in found[0].value


def test_a_transport_that_a_case_leaves_out_needs_a_reason(group: Group) -> None:
    case = _only(group, _saying(""), without={"mtls": "tried elsewhere"})
    given = Result(case=case, outcomes=dict.fromkeys(EVERY[:-1]))
    forgotten = Result(case=case, outcomes=dict.fromkeys(EVERY[:-2]))

    assert given.missing == ()
    assert forgotten.missing == ("tcp",)
    assert not Score([forgotten]).perfect
    assert "greeter: case did not run over tcp" in list(Score([forgotten]).lines())


def test_a_score_has_a_row_for_each_group_and_a_line_for_each_difference(
    runner: Runner, group: Group
) -> None:
    group.add("good", _saying(""), without={"servicer": "tried elsewhere"})
    group.add("bad", _saying("message"))

    lines = list(Score(runner.run_all(Table([group]))).lines())

    assert lines[0].split() == list(TRANSPORTS)
    assert lines[1].split() == ["greeter", "0/1", "1/2", "1/2", "2/2", "2/2", "2/2"]
    assert "- servicer, 1 of 2: tried elsewhere" in lines
    assert lines.count("greeter: bad") == 3
    assert lines[-1] == "parity: 2 cases, 6 transports, 3 differences"


def test_two_cases_of_one_name_are_refused(group: Group) -> None:
    group.add("one", _saying(""))
    group.add("one", _saying(""))

    with pytest.raises(ValueError, match="greeter: one"):
        Table([group])


def test_without_a_yardstick_most_are_right() -> None:
    found = parity.differences({"local": 1, "shared": 2, "unix": 1})

    assert [str(each) for each in found] == ["shared: 2, should be 1"]


def test_a_field_that_one_outcome_lacks_is_a_difference() -> None:
    found = parity.differences({"plain": {"a": []}, "local": {"a": [1]}})

    assert list(map(str, found)) == [
        "local a: (nothing), should be []",
        "local a[0]: 1, should be (nothing)",
    ]


def test_types_are_compared_too() -> None:
    assert parity.differences({"plain": {"a": b"1"}, "local": {"a": "1"}})


def test_ids_of_errors_do_not_count() -> None:
    first, second = (
        parity.failure(StatusError(grpc.StatusCode.INTERNAL, f"id {number:016x}"))
        for number in (1, 2)
    )

    assert first == second
