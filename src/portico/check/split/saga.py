"""A workflow of which more steps leave the process after a move than before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from portico.check.split.entries import Stage, stages
from portico.check.split.finding import is_command
from portico.check.split.mentions import Call, Change

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from portico.check.split.code import Code, Function
    from portico.check.split.walk import Sighting
    from portico.workflow.plan import Plan


@dataclass(frozen=True, eq=False, kw_only=True)
class Saga:
    """``before`` and ``after`` are the plans of the workflow in the processes that run its ``module``.

    ``callees`` are the modules that the steps are at, empty for the module's own; ``sightings`` what each
    step, and each undo, comes to. ``hides`` tells whether the module asks which runs are under way.
    """

    module: str
    before: Plan[Any]
    after: Plan[Any]
    callees: Sequence[str]
    sightings: Mapping[tuple[int, bool], Sequence[Sighting]]
    code: Code
    hides: bool

    @property
    def name(self) -> str:
        """The workflow's."""
        return self.after.workflow.name

    @property
    def was_together(self) -> bool:
        """Whether it was one transaction."""
        return self.before.strategy == "together"

    @property
    def transactions(self) -> int:
        """How many transactions the steps that stay in the process are: neighbours share one, up to a wait."""
        remote = self.after.is_remote
        return sum(
            not each and (place == 0 or remote[place - 1] or self.after.wait_at(place) is not None)
            for place, each in enumerate(remote)
        )

    @property
    def stages(self) -> list[Stage]:
        """Its steps and their undos."""
        return list(stages(self.module, self.after))

    def is_new(self, stage: Stage) -> bool:
        """Whether the step leaves the process from now on."""
        return stage.is_remote and not self.before.is_remote[stage.place]

    def own(self, stage: Stage) -> list[Sighting]:
        """What the step does in the code of the module itself."""
        return [each for each in self._seen(stage) if each.module == self.module]

    def changes(self, stage: Stage) -> bool:
        """Whether the step changes anything, here or elsewhere; one whose source is not known may."""
        if not self.is_found(stage):
            return True
        return any(each.what is Change or commands(each) for each in self._seen(stage))

    def functions(self, stage: Stage) -> list[Function]:
        """The source of the step, as far as it is found."""
        return stage.functions(self.code)

    def is_found(self, stage: Stage) -> bool:
        """Whether there is source of everything that the step does."""
        return all(self.code.running(done) for done in stage.done)

    def place(self, stage: Stage) -> tuple[Path, int] | None:
        """Where the step is defined, or else any step of the workflow; None when no source is known."""
        for each in (stage, *self.stages):
            for function in self.functions(each):
                return function.file.path, function.line
        return None

    def commits_before(self, stage: Stage) -> str:
        """The first step that runs, and may fail, when this one is committed already; empty when there is none."""
        behind = range(stage.place + 1, len(self.after.steps))
        # Neighbours that stay in the process commit together, unless the run waits between them.
        later = (
            each
            for each in behind
            if stage.is_remote or self.after.is_remote[each] or self.after.wait_at(each)
        )
        return next((self.after.steps[each].name for each in later), "")

    def _seen(self, stage: Stage) -> Sequence[Sighting]:
        return self.sightings.get((stage.place, stage.is_undo), ())


def commands(sighting: Sighting) -> bool:
    """Whether another module is told to change something."""
    return (
        sighting.what is Call and is_command(sighting.path) and sighting.callee != sighting.module
    )
