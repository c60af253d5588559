"""Points at which faults can happen, put into a program from outside.

    step <workflow>.<step>[.undo]      an action or undo of a workflow's step
    rpc <Service>/<Method>             a servicer's method, whatever stands between it and its caller
    commit <what>                      a transaction's COMMIT, by the rpc, reaction or workflow it belongs to
    reaction <module>.<Class.method>   one reaction to one event
    carry <Event>                      taking events to another process, in the one that sends them
    take <Event>                       running their reactions, in the one that they come to

each followed by ``before``, ``after`` or, when it raised, ``refused``. Where a unit of work joins a
transaction that is open it has no COMMIT of its own. Events that travel together are one and the same
work, with points of each kind of them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from portico.context import current
from portico.data.transaction import Transaction
from portico.events.delivery import Delivery
from portico.events.reception import Reception
from portico.events.there import There
from portico.rpc.registry import Registry
from portico.workflow import Step, Workflow, Workflows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from portico.events.outbox import Record
    from portico.events.reactions import Reaction
    from portico.rpc.interfaces import Handler
    from portico.testing.faults import Faults
    from portico.v1.events_service_pb2 import DeliverRequest, DeliverResponse


def instrument(faults: Faults, *, services: str) -> None:
    """Put points into every program that this process makes from now on. There is no way back.

    ``services`` is how the full names of the services begin whose methods get points.
    """
    _steps(faults)
    _methods(faults, services)
    _commits(faults)
    _reactions(faults)
    _deliveries(faults)


def _steps(faults: Faults) -> None:
    define = Workflows.define

    def pointed(self: Workflows, workflow: Workflow[Any], *, state: type[Any]) -> Workflow[Any]:
        steps = [
            _step(faults, f"step {workflow.name}.{step.name}", step) for step in workflow.steps
        ]
        return define(self, replace(workflow, steps=steps), state=state)

    _put(Workflows, "define", pointed)


def _step(faults: Faults, name: str, step: Step[Any]) -> Step[Any]:
    undo = None if step.undo is None else _around(faults, f"{name}.undo", step.undo)
    return replace(step, action=_around(faults, name, step.action), undo=undo)


def _around(faults: Faults, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
    def pointed(*arguments: Any) -> Any:
        return faults.around(name, partial(work, *arguments))

    return pointed


def _methods(faults: Faults, services: str) -> None:
    add = Registry.add

    def pointed(self: Registry, service: str, handlers: Mapping[str, Handler], module: str) -> None:
        if service.startswith(services):
            short = service.rpartition(".")[2]
            handlers = {
                name: _handler(faults, f"rpc {short}/{name}", handler)
                for name, handler in handlers.items()
            }
        add(self, service, handlers, module)

    _put(Registry, "add", pointed)


def _handler(faults: Faults, name: str, handler: Any) -> Any:
    """Streams have none: a workflow commands by unary calls."""
    if handler.unary_unary is None:
        return handler
    return handler._replace(unary_unary=_around(faults, name, handler.unary_unary))


def _commits(faults: Faults) -> None:
    commit = Transaction.commit

    def pointed(self: Transaction) -> None:
        what = current().method.rpartition(".")[2] if _is_rpc() else current().method
        if not what:  # a relay's claim, housekeeping
            commit(self)
            return
        try:
            faults.reach(f"commit {what} before")
        except BaseException:
            self.rollback()
            raise
        commit(self)
        faults.reach(f"commit {what} after")

    _put(Transaction, "commit", pointed)


def _is_rpc() -> bool:
    return current().method.startswith("/")


def _reactions(faults: Faults) -> None:
    react = Delivery._react  # noqa: SLF001

    def pointed(self: Delivery, reaction: Reaction, record: Record, until: float) -> None:
        name = f"reaction {reaction.database.schema}.{reaction.consumer}"
        faults.around(name, partial(react, self, reaction, record, until))

    _put(Delivery, "_react", pointed)


def _deliveries(faults: Faults) -> None:
    ask, take = There._ask, Reception.take  # noqa: SLF001

    def carried(self: There, request: DeliverRequest) -> DeliverResponse:
        work = partial(ask, self, request)
        for kind in _kinds(request):
            work = partial(faults.around, f"carry {kind}", work)
        return work()

    def taken(self: Reception, request: DeliverRequest, **how: Any) -> DeliverResponse:
        work = partial(take, self, request, **how)
        for kind in _kinds(request):
            work = partial(faults.around, f"take {kind}", work)
        return work()

    _put(There, "_ask", carried)
    _put(Reception, "take", taken)


def _kinds(request: DeliverRequest) -> list[str]:
    return sorted({event.type.rpartition(".")[2] for event in request.events})


def _put(kind: type, method: str, pointed: Callable[..., Any]) -> None:
    setattr(kind, method, pointed)
