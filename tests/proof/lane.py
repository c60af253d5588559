"""One lane of the proof: a Postgres of its own, and one case after the other on it."""

from __future__ import annotations

import traceback
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Self

from tests.proof.cases import cases
from tests.proof.columns import SCHEDULE
from tests.proof.scenarios import SCENARIOS, Scenario
from tests.proof.schedule import Schedule
from tests.proof.server import Server
from tests.proof.stand import Stand
from tests.proof.trial import Trials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    from portico.testing.zygote import Zygote


@dataclass(frozen=True)
class Work:
    """What a lane does in one go: the cases of one way through a workflow, or random schedules by their seeds."""

    placement: str
    scenario: type[Scenario] | None = None
    seeds: tuple[int, ...] = ()


class Tried(NamedTuple):
    """A case, its row and column, and everything that was wrong."""

    name: str
    row: str
    column: str
    found: list[str]


_Planned = tuple[str, str, str, "Callable[[Trials], list[str]]"]


class Lane:
    """Does work. A shop in which nothing went wrong is used for the next case too. A context manager."""

    def __init__(
        self,
        zygote: Zygote,
        folder: Path,
        *,
        only: str = "",
        plant: str = "",
        dry: bool = False,
    ) -> None:
        """``only`` leaves out the cases whose name and column do not contain it; ``plant`` is a bug of the shop.

        A ``dry`` lane tries none of them.
        """
        self._dry = dry
        self._zygote = zygote
        self._folder = folder
        self._only = only
        self._plant = plant
        self._stack = ExitStack()
        self._stage = ExitStack()
        self._placement = ""

    def __enter__(self) -> Self:
        self._folder.mkdir(mode=0o711)
        self._server = self._stack.enter_context(Server(self._folder))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()
        self._stack.close()

    def clear(self) -> None:
        """Throw the shop away: what is wrong in it must not be taken for the next case's."""
        self._placement = ""
        self._stage.close()

    def do(self, work: Work) -> Iterator[Tried]:
        """Try the cases of ``work``, one by one."""
        for name, row, column, trial in self._planned(work):
            if self._only not in name and self._only not in column:
                continue
            try:
                found = [] if self._dry else trial(self._trials(work.placement))
            except Exception:  # noqa: BLE001  # whatever it is: this case proves nothing, the next one may
                found = [traceback.format_exc()]
            if found:
                self.clear()
            yield Tried(name, row, column, found)

    def _planned(self, work: Work) -> Iterator[_Planned]:
        trials = self._trials(work.placement)
        if work.scenario is None:
            row = f"all at once @ {work.placement}"
            points = sorted({point for kind in SCENARIOS for point in trials.points(kind)})
            for seed in work.seeds:
                schedule = Schedule(seed, points, by_redis=trials.is_by_redis)
                name = f"{row}, seed {seed}: {schedule}"
                yield name, row, SCHEDULE, partial(Trials.run_schedule, schedule=schedule)
            return
        row = f"{work.scenario.workflow} @ {work.placement}"
        points, home = trials.points(work.scenario), trials.home(work.scenario)
        for case in cases(work.scenario, points, home=home, by_redis=trials.is_by_redis):
            name = f"{row}, {work.scenario.way}: {case.name}"
            yield name, row, case.column, partial(Trials.run, kind=work.scenario, case=case)

    def _trials(self, placement: str) -> Trials:
        if placement != self._placement:
            self.clear()
            folder = self._folder / placement
            stand = Stand(self._zygote, self._server, placement, folder, plant=self._plant)
            self._current = self._stage.enter_context(Trials(self._stage.enter_context(stand)))
            self._placement = placement
        return self._current
