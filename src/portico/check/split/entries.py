"""Where the code of a module begins to run: rpcs, reactions, steps of workflows, what happens at the start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from portico.events.reactions import marks_of
from portico.rpc.registry import Registry
from portico.workflow.definition import Wait, unheard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from portico.check.split.code import Code, Function
    from portico.module import Module
    from portico.workflow.definition import Step
    from portico.workflow.plan import Plan


@dataclass(frozen=True, eq=False)
class Stage:
    """A step in its workflow, as the workflow runs after the move; or the undo of the step."""

    module: str
    plan: Plan[Any]
    place: int
    is_undo: bool = False

    @property
    def step(self) -> Step[Any]:
        """The step."""
        return self.plan.steps[self.place]

    @property
    def done(self) -> list[Callable[..., None]]:
        """What is done: the step's action, or its undo. Of a wait, what it does with what came, and without it."""
        step = self.step
        if isinstance(step, Wait):
            hears = [] if step.take is unheard else [step.take]
            return hears if step.late is None else [*hears, step.late]
        done = step.undo if self.is_undo else step.action
        return [] if done is None else [done]

    def functions(self, code: Code) -> list[Function]:
        """The source of all that is done, as far as it is found."""
        return [function for done in self.done for function in code.running(done)]

    @property
    def is_remote(self) -> bool:
        """Whether it leaves the process."""
        return self.plan.is_remote[self.place]

    @property
    def transaction(self) -> str:
        """What it runs in; empty for a step that leaves the process."""
        if self.plan.strategy == "together":  # where an undo never runs
            return "" if self.is_undo else "the one transaction of its workflow"
        return "" if self.is_remote else "the transaction of the workflow's own steps"

    def __str__(self) -> str:
        undo = "undo of " if self.is_undo else ""
        return f"{undo}step {self.step.name} of {self.plan.workflow.name}"


@dataclass(frozen=True, eq=False)
class Entry:
    """``functions`` run in ``module`` with nothing of it before them; ``transaction`` says what is open then."""

    name: str
    module: str
    functions: Sequence[Function]
    transaction: str = ""
    stage: Stage | None = None


def entries(module: Module, plans: Sequence[Plan[Any]], code: Code) -> Iterator[Entry]:
    """All of one module; an entry whose source is not known has no functions."""
    for path in _paths(module):
        name = path.rpartition("/")[2]
        yield Entry(f"rpc {name}", module.name, servicing(module, name, code))
    for kind in module.reactions:
        for name, (_, in_transaction) in marks_of(kind):
            opened = "the transaction of the reaction" if in_transaction else ""
            found = _method(kind, name, code)
            yield Entry(f"reaction {kind.__name__}.{name}", module.name, found, opened)
    for extra, name in ((module.demonstration, "load"), (module.advice, "give")):
        if extra is not None:
            yield Entry(f"{extra.__name__}.{name}", module.name, _method(extra, name, code))
    for plan in plans:
        for stage in stages(module.name, plan):
            functions = stage.functions(code)
            yield Entry(str(stage), module.name, functions, stage.transaction, stage)


def stages(module: str, plan: Plan[Any]) -> Iterator[Stage]:
    """The steps of a workflow, each with its undo."""
    for place, step in enumerate(plan.steps):
        yield Stage(module, plan, place)
        if step.undo is not None:
            yield Stage(module, plan, place, is_undo=True)


def servicing(module: Module, rpc: str, code: Code) -> list[Function]:
    """The methods of a module's servicers that answer to the rpc of this name."""
    return [each for kind in module.provides.values() for each in _method(kind, rpc, code)]


def _method(kind: type, name: str, code: Code) -> list[Function]:
    found = code.method(f"{kind.__module__}.{kind.__qualname__}", name)
    return [] if found is None else [found]


def _paths(module: Module) -> list[str]:
    registry = Registry()
    module.describe(registry)
    return [endpoint.method.path for endpoint in registry]
