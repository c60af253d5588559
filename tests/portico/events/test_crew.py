from __future__ import annotations

import threading

import pytest

from portico.events.crew import Crew


def test_items_of_a_line_are_done_in_order_and_by_one_at_a_time() -> None:
    crew = Crew(4)
    done: dict[int, list[int]] = {line: [] for line in range(20)}
    busy: set[int] = set()

    def work(item: tuple[int, int]) -> bool:
        line, number = item
        assert line not in busy
        busy.add(line)
        done[line].append(number)
        busy.remove(line)
        return True

    crew.run([[(line, number) for number in range(10)] for line in done], work)
    crew.close()
    assert all(numbers == list(range(10)) for numbers in done.values())


def test_several_work_at_the_same_time() -> None:
    crew = Crew(3)
    together = threading.Barrier(3)
    crew.run([[1], [2], [3]], lambda _: together.wait(20) >= 0)
    crew.close()
    assert not together.broken


def test_a_line_that_fails_ends_and_the_others_go_on() -> None:
    crew = Crew(2)
    seen: list[str] = []

    def work(item: str) -> bool:
        seen.append(item)
        return item != "a1"

    crew.run([["a1", "a2"], ["b1", "b2"]], work)
    crew.close()
    assert sorted(seen) == ["a1", "b1", "b2"]


@pytest.mark.parametrize("size", [1, 2])
def test_an_error_reaches_the_one_who_asked_when_nobody_works_any_more(size: int) -> None:
    crew = Crew(size)

    def work(item: int) -> bool:
        raise KeyError(item)

    with pytest.raises(KeyError):
        crew.run([[1], [2], [3]], work)
    crew.close()


def test_nobody_waits_for_helpers_that_others_keep_busy_and_it_can_be_used_after_its_end() -> None:
    crew = Crew(2)
    crew.close()
    begun, end = threading.Barrier(3), threading.Event()
    busy = threading.Thread(
        target=crew.run, args=([[1], [2]], lambda _: begun.wait(20) >= 0 and end.wait(20))
    )
    busy.start()
    begun.wait(20)
    seen: list[int] = []

    def work(item: int) -> bool:
        seen.append(item)
        return True

    crew.run([[1], [2], [3]], work)
    assert seen == [1, 2, 3]
    end.set()
    busy.join()
    crew.close()
