"""The laboratory of trouble: overload, a chain of deadlines, an outage."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from portico.lab.v1 import hop_pb2

from portico.lab import chain, outage, overload
from portico.lab.lab_process import LabProcess
from portico.lab.open_load import Answers, OpenLoad
from portico.lab.outage import Called
from portico.lab.server_process import ServerProcess
from portico.lab.subject import a_request

if TYPE_CHECKING:
    from pathlib import Path

PATH = "/portico.lab.v1.HopService/Hop"


class TestAnOpenLoad:
    def test_sends_as_many_calls_as_it_should_and_says_how_they_ended(self) -> None:
        with ServerProcess("whole") as server:
            signed_in = (("authorization", server.authorization),)
            good = a_request().SerializeToString()
            with OpenLoad(server.address, PATH, request=good, headers=signed_in) as load:
                answers = load.run(calls_per_second=500, seconds=0.4)
                again = load.run(calls_per_second=500, seconds=0.2)
            with OpenLoad(server.address, PATH, request=good) as load:  # nobody is signed in
                refused = load.run(calls_per_second=500, seconds=0.2)

        assert (len(answers.answered), len(answers.refused), answers.lost) == (200, 0, 0)
        assert min(answers.answered) > 0
        assert answers.seconds >= 0.39
        assert len(again.answered) == 100
        assert (len(refused.answered), len(refused.refused), refused.lost) == (0, 100, 0)

    def test_goes_on_beyond_the_first_window_of_flow_control(self) -> None:
        request = hop_pb2.HopRequest(caller_id="x" * 64, number=1).SerializeToString()
        with (
            ServerProcess("bare") as server,
            OpenLoad(server.address, PATH, request=request, connections=1) as load,
        ):
            answers = load.run(calls_per_second=4000, seconds=0.5)

        assert len(answers.answered) == 2000


def test_a_child_that_ends_is_told() -> None:
    with pytest.raises(RuntimeError, match="ended or did not start"), LabProcess("portico.lab.no"):
        pass


def test_a_deadline_ends_a_chain_of_processes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "CALLS", 3)
    chain.main(tmp_path / "chain.json")

    told = json.loads((tmp_path / "chain.json").read_text())
    assert told["codes"] == {"DEADLINE_EXCEEDED": 3}
    assert told["still_at_work"] == {"a": 0, "b": 0, "c": 0}
    assert told["seen"]["c"] >= 3
    assert "3 DEADLINE_EXCEEDED" in capsys.readouterr().out


class TestAnOverload:
    def test_is_told_with_what_came_in_time(self) -> None:
        answers = Answers(answered=[0.1] * 90 + [2.5] * 10, refused=[0.001] * 20, lost=3, seconds=2)
        told = overload._told(answers, peak=100, offered=400)

        assert (told["goodput"], told["goodput_of_peak"]) == (45, 0.45)
        assert (told["refused"], told["lost"]) == (20, 3)
        assert told["p50_ms"] == pytest.approx(100)
        assert told["p99_ms"] == pytest.approx(2500)
        assert told["refused_p50_ms"] == pytest.approx(1)


def called(*outcomes: str, begin: float = 0.0) -> list[Called]:
    return [Called(begin + number, 0.001, outcome) for number, outcome in enumerate(outcomes)]


class TestAnOutage:
    def test_is_over_when_no_call_fails_any_more(self) -> None:
        assert outage._steady_since(called("no", "OK", "no", *["OK"] * 60)) == 3
        assert outage._steady_since(called(*["OK"] * 60)) == 0

    def test_is_not_over_while_calls_fail(self) -> None:
        assert outage._steady_since(called(*["OK"] * 60, "no", "OK")) == float("inf")

    def test_is_told_from_its_phases(self) -> None:
        refused = "UNAVAILABLE CIRCUIT_OPEN"
        phases = {
            "well": called(*["OK"] * 5),
            "dead": called("UNAVAILABLE", *[refused] * 4),
            "away": called(*[refused] * 9, "UNAVAILABLE", begin=10),
            "back": called(refused, *["OK"] * 60, begin=20),
        }
        told = outage._told(phases, {"attempts": 2, "repeats": 1}, 20.5)

        assert told["open_calls"] == 4 + 10
        assert told["amplification"] == 0.2
        assert told["back_after_seconds"] == 0.5
        assert told["phases"]["dead"]["ended"] == {"UNAVAILABLE": 1, refused: 4}
