"""The laboratory of workflows: what they cost, and who finishes those that were abandoned."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from portico.lab.v1 import travel_pb2 as pb
from portico.lab.v1.travel_pb2_grpc import ReservationsServiceStub, TripsServiceStub
from pydantic import SecretStr

from portico import Settings, StatusError
from portico.lab import abandoning, recovery, workflow
from portico.lab.travel.application import application
from portico.lab.travel.site import Site
from portico.lab.travel.worker import WorkerProcess
from portico.testing.harness import Harness

DONE = """
INSERT INTO trips.workflow_runs (id, name, version, key, subject, input, state, headers, direction, status, step,
                                 owner, lease_until, created_at, updated_at)
SELECT gen_random_uuid(), 'trips.book_trip', 1, trip, trip, '{}', '{"keep_codes": true}', '{}', 'FORWARD', 'DONE', 5,
       '', now(), now(), now()
FROM unnest(ARRAY['one', 'two']) AS trip
"""
EFFECTS = (
    """
INSERT INTO trips.diary SELECT subject, what, CASE what WHEN 'closed' THEN ARRAY[
    'flight of ' || subject, 'hotel of ' || subject, 'car of ' || subject] ELSE '{}' END
FROM trips.workflow_runs, unnest(ARRAY['opened', 'closed']) AS what
""",
    """
INSERT INTO reservations.reservations (trip_id, leg, request_id)
SELECT subject, leg, leg FROM trips.workflow_runs, unnest(ARRAY['flight', 'hotel', 'car']) AS leg
""",
)
EMPTY = "TRUNCATE trips.workflow_runs, trips.diary, reservations.reservations"


@pytest.fixture(scope="module")
def shared_site() -> Iterator[Site]:
    with Site(fsync=False) as site:
        yield site


@pytest.fixture
def site(shared_site: Site) -> Site:
    shared_site.rows(EMPTY)
    return shared_site


@pytest.fixture
def travel(site: Site) -> Iterator[Harness]:
    here = replace(application, migrations=site.folder / "migrations")
    with Harness(here, Settings(database_url=SecretStr(site.database_url))) as harness:
        yield harness


@pytest.fixture
def finished(site: Site) -> Site:
    for statement in (DONE, *EFFECTS):
        site.rows(statement)
    assert recovery.violations(site, runs=2) == []
    return site


class TestTheApplication:
    def test_books_a_trip_once_however_often_it_is_asked(self, travel: Harness, site: Site) -> None:
        stub = travel.stub(TripsServiceStub, "local")
        request = pb.BookTripRequest(request_id="mine", keep_codes=True)
        answers = [stub.BookTrip(request) for _ in range(2)]

        assert answers[0] == answers[1]
        assert list(answers[0].codes) == ["flight of mine", "hotel of mine", "car of mine"]
        assert [row[0] for row in site.rows("SELECT what FROM trips.diary")] == ["opened", "closed"]

    def test_keeps_no_place_that_was_given_up(self, travel: Harness) -> None:
        stub = travel.stub(ReservationsServiceStub, "local", caller="trips")
        leg = {"trip_id": "mine", "leg": "hotel"}
        stub.Release(pb.ReleaseRequest(**leg))
        with pytest.raises(StatusError) as caught:
            stub.Reserve(pb.ReserveRequest(request_id="late", **leg))

        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert caught.value.reason == "RESERVATION_RELEASED"
        stub.Release(pb.ReleaseRequest(**leg))  # a repeat


class TestTheLawsOfRecovery:
    @pytest.mark.parametrize(
        ("spoil", "told"),
        [
            (
                "INSERT INTO trips.diary VALUES ('one', 'opened', '{}')",
                "1 trips were not opened exactly once, or not closed exactly once",
            ),
            (
                "DELETE FROM trips.diary WHERE what = 'closed'",
                "2 trips were not opened exactly once, or not closed exactly once",
            ),
            (
                "UPDATE trips.diary SET codes = '{}' WHERE trip_id = 'two'",
                "1 trips were closed without the codes that they were to keep",
            ),
            (
                "DELETE FROM reservations.reservations WHERE trip_id = 'two' AND leg = 'car'",
                "1 trips do not have exactly three reservations",
            ),
            (
                "UPDATE reservations.reservations SET released = true",
                "2 trips do not have exactly three reservations",
            ),
            (
                "UPDATE reservations.reservations SET made = 2 WHERE leg = 'car'",
                "2 reservations were made more than once",
            ),
            (
                "INSERT INTO trips.diary VALUES ('three', 'opened', '{}')",
                "1 entries or reservations belong to no run",
            ),
            (
                "UPDATE trips.workflow_runs SET status = 'RUNNING' WHERE subject = 'one'",
                "2 runs were begun, 1 are done",
            ),
        ],
    )
    def test_see_an_effect_that_is_wrong(self, finished: Site, spoil: str, told: str) -> None:
        finished.rows(spoil)
        assert recovery.violations(finished, runs=2) == [told]


def test_abandoned_runs_are_finished_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = 2 * len(abandoning.PLACES) + 3
    monkeypatch.setattr(recovery, "RUNS_PER_KILL", runs - 3)
    at_once = "UPDATE trips.workflow_runs SET lease_until = now()"
    monkeypatch.setattr(recovery, "_await_leases", lambda site: site.rows(at_once))
    assert recovery.main(tmp_path / "recovery.json", runs=runs) == 0

    told = json.loads((tmp_path / "recovery.json").read_text())
    assert told["kills"] == 2
    assert told["abandoned"] == dict(zip(abandoning.PLACES, (3, 3, 3, 2), strict=True))
    assert told["ended"] == {"DONE": runs}
    assert told["commands_repeated"] > 0
    assert told["violations"] == []
    assert "each there, and once" in capsys.readouterr().out


def test_an_effect_that_is_wrong_fails_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {
        "runs": 1,
        "kills": 1,
        "abandoned": {"after car": 1},
        "abandoning_seconds": 1.0,
        "waited_seconds": 1.0,
        "seconds": 1.0,
        "runs_per_second": 1.0,
        "runs_per_second_at_work": None,
        "ended": {"DONE": 1},
        "commands_repeated": 0,
        "violations": ["1 reservations were made more than once"],
    }
    monkeypatch.setattr(recovery, "measure", lambda **_: found)

    assert recovery.main(None, runs=1) == 1
    assert "1 reservations were made more than once" in capsys.readouterr().out


def test_a_worker_that_does_not_start_is_told(site: Site) -> None:
    with (
        WorkerProcess(site, "nobody") as worker,
        pytest.raises(RuntimeError, match="did not start"),
    ):
        worker.await_start()


def test_a_workflow_is_measured_in_five_ways(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow, "ROUNDS", 2)
    monkeypatch.setattr(workflow, "RUNS_PER_ROUND", 3)
    workflow.main(tmp_path / "workflow.json")

    told = json.loads((tmp_path / "workflow.json").read_text())
    assert list(told["ways"]) == ["together", "apart", "noting", "unlogged", "calls"]
    assert told["runs"] == 3
    for way in told["ways"].values():
        assert 0 < way["p50_ms"] <= way["p99_ms"]
        assert way["cpu_ms"]["orchestrator"] > 0
    assert told["ways"]["calls"]["cpu_ms"]["callee"] > 0
    assert set(told["log"]) == {"apart", "noting"}
    assert "the log of apart adds" in capsys.readouterr().out
