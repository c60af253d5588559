"""A module's way to run its workflows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from portico.clock import SystemClock
from portico.data import on_commit
from portico.errors import StatusError
from portico.ids import Ids
from portico.telemetry import logs
from portico.telemetry.spans import part
from portico.workflow import together
from portico.workflow.apart import Apart
from portico.workflow.definition import Wait
from portico.workflow.desk import Desk
from portico.workflow.log import Log, Version
from portico.workflow.plan import Plan, Strategy, is_remote, waits
from portico.workflow.settings import WorkflowSettings
from portico.workflow.waits import Waits

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from portico.clock import Clock
    from portico.data import Database
    from portico.workflow.definition import Workflow
    from portico.workflow.run import Run

State = TypeVar("State")

_log = logs.logger("portico.workflow")


def _all_local(_: type) -> bool:
    return True


class Workflows:
    """The workflows of one module: defined once at the start, run by its use cases.

    A workflow whose steps all stay in the process is one transaction: *together*. Where one leaves
    it, or waits, each run is written to a log in the module's schema and finished or undone in the end, by this
    process or another one: *apart*.
    """

    def __init__(
        self,
        *,
        module: str,
        database: Database,
        clock: Clock | None = None,
        is_local: Callable[[type], bool] = _all_local,
        settings: WorkflowSettings | None = None,
    ) -> None:
        """``is_local`` tells of a stub class whether its module runs in this process, on this database."""
        clock = clock or SystemClock()
        self.desk = Desk(
            module=module,
            database=database,
            log=Log(database.schema),
            waits=Waits(database.schema),
            clock=clock,
            ids=Ids(clock=clock),
            settings=settings or WorkflowSettings(),
        )
        self._is_local = is_local
        self._plans: dict[Version, Plan[Any]] = {}
        self._apart = Apart(self.desk)
        self._bells: list[threading.Event] = []

    def define(self, workflow: Workflow[State], *, state: type[State]) -> Workflow[State]:
        """Make the workflow known, so that its runs can be taken up after a crash; answers it.

        ``state`` is a dataclass of plain data: lists, dicts, strings, numbers, booleans, None. Versions
        stay defined until no run of them is left. Defining the same one again changes nothing.
        """
        version = workflow.name, workflow.version
        if version not in self._plans:
            plan = self._plans[version] = Plan(workflow, state, is_local=self._is_local)
            _log.info("workflow", workflow=workflow.name, strategy=plan.strategy)
        return workflow

    @property
    def plans(self) -> Mapping[Version, Plan[Any]]:
        """What is defined, by name and version."""
        return self._plans

    def strategy(self, workflow: Workflow[Any]) -> Strategy:
        """How the workflow runs in this process."""
        leaves = any(is_remote(step.at, self._is_local) for step in workflow.steps)
        return "apart" if leaves or waits(workflow) else "together"

    def run(self, workflow: Workflow[State], state: State, *, key: str) -> State:
        """Run all steps and return the state they left.

        ``key`` names this run, the same for every repeat of the same request. What a step is refused
        undoes everything and comes out of here unchanged.

        Apart, the answer of a run that is done is the answer of every later one with its key; a repeat
        while it is under way waits for it. A run that was undone has left nothing: its key is free, as
        it is together. Also together, a run from before a move is the answer of its repeat, where
        that fails with ALREADY_EXISTS. A step that cannot be reached counts as refused after a few attempts. When the
        caller's time ends first, the run waits, or there is no way back, it goes on without it: ABORTED with
        WORKFLOW_RUNNING and the metadata ``workflow`` and ``run_id``.

        Raises RuntimeError for a workflow that leaves the process and was never defined, and
        ``TransactionMisuseError`` for one inside a unit of work.
        """
        plan: Plan[State] | None = self._plans.get((workflow.name, workflow.version))
        strategy = self.strategy(workflow) if plan is None else plan.strategy
        with part(f"workflow {workflow.name}"):
            if strategy == "together":
                return self._run_together(workflow, state, key)
            if plan is None:
                raise RuntimeError(
                    f"{workflow.name} leaves the process: define it before it is run"
                )
            return self._apart.run(plan, state, key=key)

    def _run_together(self, workflow: Workflow[State], state: State, key: str) -> State:
        try:
            return together.run(self.desk.module, self.desk.database, workflow, state, key=key)
        except StatusError as refusal:
            plan: Plan[State] | None = self._plans.get((workflow.name, workflow.version))
            if plan is None or refusal.code() is not grpc.StatusCode.ALREADY_EXISTS:
                raise
            # Perhaps by a run of this very key, from before the modules moved together.
            answer = self._apart.answer(plan, key=key)
            if answer is None:
                raise
            return answer

    def signal(self, workflow: Workflow[Any], *, key: str, name: str, value: object = None) -> bool:
        """Tell the run of ``key`` that what its step ``name`` waits for has come, with a value of plain data.

        Whether there was such a run: False when it has not begun, has ended or is being undone. The first
        signal counts, a repeat changes nothing. It may come before the run is at its wait. The run goes on
        once the transaction that this is called in has committed: soon where recovery runs in this process,
        else within a second or so. It locks the run until then: call it last.

        Raises ValueError when the workflow has no such wait.
        """
        if not any(isinstance(step, Wait) and step.name == name for step in workflow.steps):
            raise ValueError(f"workflow {workflow.name} has no wait {name}")
        with self.desk.database.unit_of_work() as session:
            on_commit(session, self._ring)
            return self.desk.waits.signal(
                session, workflow.name, key, name, value, now=self.desk.clock.now()
            )

    def ring_at_signals(self, bell: threading.Event) -> None:
        """Set ``bell`` whenever something has come here that a run may wait for. For ``Recovery``."""
        self._bells.append(bell)

    def _ring(self) -> None:
        for bell in self._bells:
            bell.set()

    def take_up(self) -> Run | None:
        """Go on with one run that nobody works on; None when there is none. For ``Recovery``."""
        return self._apart.take_up(self._plans)
