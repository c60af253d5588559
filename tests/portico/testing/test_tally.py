from __future__ import annotations

import pytest

from portico.testing.tally import Tally


def test_a_table_counts_by_row_and_column() -> None:
    tally = Tally(["killed", "lost", "flushed"])
    tally.add("place @ apart", "killed", violated=False)
    tally.add("place @ apart", "killed", violated=True)
    tally.add("cancel @ apart", "lost", violated=False)

    assert (tally.cases, tally.violations) == (3, 1)
    assert tally.lines() == [
        "                        killed  lost  flushed",
        "cancel @ apart               -     1        -",
        "place @ apart   2 (1 violated)     -        -",
    ]


def test_a_case_in_a_column_that_there_is_not_is_refused() -> None:
    tally = Tally(["killed", "lost"])

    with pytest.raises(KeyError):
        tally.add("place @ apart", "drowned", violated=False)
    assert tally.cases == 0
