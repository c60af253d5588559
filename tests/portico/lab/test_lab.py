"""The laboratory: it measures what it says, and sees when there is nothing to measure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from portico.lab.v1 import hop_pb2, hop_pb2_grpc

from portico.lab import hop, throughput
from portico.lab.http2_load import Caller, WrongAnswerError
from portico.lab.server_process import ServerProcess
from portico.lab.subject import a_request, everything_on
from portico.rpc.remote import RemoteChannel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATH = "/portico.lab.v1.HopService/Hop"


@pytest.fixture(scope="module")
def whole() -> Iterator[ServerProcess]:
    with ServerProcess("whole") as server:
        yield server


def caller(server: ServerProcess, **changes: Any) -> Caller:
    message = hop_pb2.HopRequest(caller_id="x" * 64, number=42)
    answer = hop_pb2.HopResponse(caller_id=message.caller_id, number=message.number)
    options: dict[str, Any] = {
        "request": message.SerializeToString(),
        "response": answer.SerializeToString(),
        "headers": (("authorization", server.authorization),),
        "connections": 2,
        "in_flight": 3,
    }
    return Caller(server.address, PATH, **(options | changes))


class TestTheLoad:
    def test_counts_the_calls_that_the_server_answered(self, whole: ServerProcess) -> None:
        with caller(whole) as load:
            for result in (load.run(0.1), load.run(0.1)):
                assert result.calls >= 6
                assert result.seconds >= 0.1
                assert result.calls_per_second == result.calls / result.seconds

    def test_goes_on_beyond_the_first_window_of_flow_control(self, whole: ServerProcess) -> None:
        with caller(whole, connections=1, in_flight=900) as load:
            calls = sum(load.run(0.1).calls for _ in range(3))

        assert calls * 70 > 2 * 65535

    @pytest.mark.parametrize(
        "changes",
        [
            pytest.param({"headers": ()}, id="nobody is signed in"),
            pytest.param({"request": b""}, id="the request breaks a rule"),
            pytest.param({"response": b"other"}, id="another answer is expected"),
        ],
    )
    def test_notices_an_answer_that_is_not_the_expected_one(
        self, whole: ServerProcess, changes: Any
    ) -> None:
        with caller(whole, **changes) as load, pytest.raises(WrongAnswerError):
            load.run(0.5)


class TestTheServers:
    def test_answer_the_same(self, whole: ServerProcess) -> None:
        with ServerProcess("bare") as bare, ServerProcess("lean") as lean:
            for server in (bare, lean, whole):
                with grpc.insecure_channel(server.address) as channel:
                    stub = hop_pb2_grpc.HopServiceStub(RemoteChannel(channel))
                    signed_in = (("authorization", server.authorization or "none"),)
                    answer = stub.Hop(a_request(), metadata=signed_in)
                assert answer.caller_id == a_request().caller_id

    def test_refuse_a_stranger_where_everything_is_on(self, whole: ServerProcess) -> None:
        with grpc.insecure_channel(whole.address) as channel:
            stub = hop_pb2_grpc.HopServiceStub(channel)
            with pytest.raises(grpc.RpcError) as caught:
                stub.Hop(a_request(), timeout=10)

        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED

    def test_tell_the_processor_time_they_took(self, whole: ServerProcess) -> None:
        before = whole.cpu_seconds()
        with caller(whole) as load:
            load.run(0.1)

        assert whole.cpu_seconds() > before

    def test_that_cannot_start_are_told(self) -> None:
        unknown: Any = "unknown"
        with pytest.raises(RuntimeError, match="did not start"), ServerProcess(unknown):
            pass


def test_everything_is_on() -> None:
    policy, authorization = everything_on()

    assert policy.authenticate is not None
    assert policy.authenticate(authorization).signed_in
    assert policy.observers is not None
    assert policy.default_timeout_seconds


def test_one_call_is_measured_four_ways(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hop, "ROUNDS", 3)
    hop.main(tmp_path / "hop.json")

    told = json.loads((tmp_path / "hop.json").read_text())
    assert list(told["ways"]) == ["bare method", "local share", "local copy", "tcp"]
    for way in told["ways"].values():
        assert 0 < way["median_us"] <= way["p99_us"]
    assert told["ways"]["tcp"]["p99_over"] == "single calls"
    assert told["ratios"]["tcp over copy"] > 1
    printed = capsys.readouterr().out
    assert all(name in printed for name in told["ways"])


def test_throughput_is_measured_against_a_bare_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "ROUNDS", 2)
    monkeypatch.setattr(throughput, "ROUND_SECONDS", 0.1)
    throughput.main(tmp_path / "throughput.json")

    told = json.loads((tmp_path / "throughput.json").read_text())
    assert set(told["servers"]) == {"bare", "lean", "whole"}
    for server in told["servers"].values():
        assert server["calls"] > 0
        assert len(server["rounds"]) == 2
        assert server["cpu_us_per_call"] > 0
    assert told["whole_over"]["bare"]["throughput"] > 0
    assert told["whole_over"]["lean"]["processor_time"] > 0
    assert "whole over bare" in capsys.readouterr().out
