from __future__ import annotations

import pytest

from portico.testing.tally import Tally


def test_a_table_counts_by_row_and_column() -> None:
    tally = Tally(["killed", "lost", "flushed"], absent=["flushed"])
    tally.add("place @ apart", "killed", violated=False)
    tally.add("place @ apart", "killed", violated=True)
    tally.add("cancel @ apart", "lost", violated=False)

    assert (tally.cases, tally.violations) == (3, 1)
    assert tally.lines() == [
        "                        killed  lost  flushed",
        "cancel @ apart               -     1      n/a",
        "place @ apart   2 (1 violated)     -      n/a",
    ]


@pytest.mark.parametrize("column", ["flushed", "drowned"])
def test_a_case_in_a_column_that_can_have_none_is_refused(column: str) -> None:
    tally = Tally(["killed", "flushed"], absent=["flushed"])

    with pytest.raises(KeyError):
        tally.add("place @ apart", column, violated=False)
    assert tally.cases == 0
