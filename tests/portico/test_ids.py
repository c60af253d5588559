from __future__ import annotations

import re
import threading
from datetime import UTC, datetime
from random import Random
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.clock import ManualClock, SystemClock
from portico.ids import Ids, encoded

START = datetime(2026, 5, 29, 13, 7, tzinfo=UTC)


def test_an_id_is_its_prefix_and_26_characters() -> None:
    assert re.fullmatch(r"ord_[0-7][0-9a-hjkmnp-tv-z]{25}", Ids(clock=SystemClock()).new("ord"))


@pytest.mark.parametrize(
    ("uuid", "text"),
    [  # from the TypeID specification's list of valid ids
        ("00000000-0000-0000-0000-000000000000", "00000000000000000000000000"),
        ("00000000-0000-0000-0000-000000000020", "00000000000000000000000010"),
        ("ffffffff-ffff-ffff-ffff-ffffffffffff", "7zzzzzzzzzzzzzzzzzzzzzzzzz"),
        ("01890a5d-ac96-774b-bcce-b302099a8057", "01h455vb4pex5vsknk084sn02q"),
    ],
)
def test_a_uuid_is_written_as_the_specification_writes_it(uuid: str, text: str) -> None:
    assert encoded(UUID(uuid)) == text


def test_the_uuid_is_a_version_7_and_carries_the_clock() -> None:
    uuid = Ids(clock=ManualClock(START)).uuid()
    assert (uuid.version, uuid.variant) == (7, RFC_4122)
    assert uuid.int >> 80 == int(START.timestamp() * 1000)


@given(seed=st.integers(), steps=st.lists(st.sampled_from([0.0, 0.0001, 0.001, 5.0]), max_size=50))
def test_ids_rise_however_the_clock_moves(seed: int, steps: list[float]) -> None:
    clock = ManualClock(START)
    ids = Ids(clock=clock, random=Random(seed))
    made = []
    for step in steps:
        clock.advance(seconds=step)
        made.append(ids.new("ord"))
    assert made == sorted(set(made))


def test_ids_rise_when_the_clock_is_set_back() -> None:
    clock = ManualClock(START)
    ids = Ids(clock=clock)
    first = ids.new("ord")
    clock._now = START.replace(year=2025)
    assert ids.new("ord") > first


def test_ids_rise_over_the_end_of_the_random_bits() -> None:
    class AllOnes(Random):
        def getrandbits(self, k: int, /) -> int:
            return (1 << k) - 1

    ids = Ids(clock=ManualClock(START), random=AllOnes())
    assert ids.new("ord") < ids.new("ord") < ids.new("ord")


def test_threads_never_draw_the_same_id() -> None:
    ids = Ids(clock=ManualClock(START))
    made: list[str] = []
    threads = [
        threading.Thread(target=lambda: made.extend(ids.new("ord") for _ in range(500)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 2000


@pytest.mark.parametrize("prefix", ["", "Ord", "ord_", "_ord", "or d", "ord1", "x" * 64, "ord\n"])
def test_a_prefix_that_a_typeid_cannot_have_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        Ids(clock=SystemClock()).new(prefix)
