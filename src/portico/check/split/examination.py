"""The way from an application and a move to a report. Nothing is started or connected to."""

from __future__ import annotations

import ast
from functools import partial
from typing import TYPE_CHECKING, Any

from portico.check.split.calling import call_findings, run_findings
from portico.check.split.code import Code
from portico.check.split.entries import Entry, entries, stages
from portico.check.split.lacking import saga_findings
from portico.check.split.mentions import Call, Mentions
from portico.check.split.report import Report
from portico.check.split.saga import Saga
from portico.check.split.source import read
from portico.check.split.types import Types
from portico.check.split.walk import Walk
from portico.check.workflows import plans
from portico.events.reactions import reacted_to
from portico.module import Module, paths_of, providers, service_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from portico.app import Application
    from portico.check.split.code import Function
    from portico.check.split.finding import Finding
    from portico.check.split.move import Move
    from portico.check.split.walk import Sighting
    from portico.topology import Topology
    from portico.workflow.plan import Plan

    Plans = Mapping[tuple[str, str, int], Plan[Any]]

_OF_A_TRANSACTION = "Connection"


class Examination:
    """Reads the code of an application's modules as they would be placed after ``move``."""

    def __init__(self, application: Application, move: Move) -> None:
        self._move = move
        self._provided = providers(move.modules)
        self._before = _plans(application, move.before)
        self._after = _plans(application, move.after)
        self._files = {
            module.name: read(_roots(module, self._own_plans(module))) for module in move.modules
        }
        self._code = Code(
            {name: file for its in self._files.values() for name, file in its.items()}
        )
        rpcs = {module.name: dict(self._rpcs(module)) for module in move.modules}
        names = {path.rpartition("/")[2] for its in rpcs.values() for path in its}
        types = Types(self._code, _stubs(move.modules))
        mentions = Mentions(self._code, types, frozenset(names))
        self._walk = Walk(move, self._code, mentions, rpcs)

    def report(self) -> Report:
        """What the move would do."""
        sightings = [
            *(each for module in self._move.modules for each in self._reached(module)),
            *(each for module in self._move.modules for each in self._strays(module)),
        ]
        sagas = list(self._sagas(sightings))
        parted = (
            each for each in sightings if self._move.parts(each.module, each.callee or each.module)
        )
        return Report(
            move=self._move,
            calls=[each for each in parted if each.what is Call],
            sagas=sagas,
            unchanged=list(self._unchanged(sagas)),
            events=list(self._events()),
            findings=self._findings(sightings, sagas),
        )

    def _findings(self, sightings: Sequence[Sighting], sagas: Sequence[Saga]) -> list[Finding]:
        begun = [(saga.module, saga.after) for saga in sagas if saga.was_together]
        found = [
            *call_findings(sightings, self._move),
            *run_findings(sightings, begun, self._code),
            *(finding for saga in sagas for finding in saga_findings(saga)),
        ]
        return sorted(dict.fromkeys(found))

    def _own_plans(self, module: Module) -> list[Plan[Any]]:
        return [plan for (name, _, _), plan in self._after.items() if name == module.name]

    def _rpcs(self, module: Module) -> Iterator[tuple[str, str]]:
        """The paths that a module may call, each with the module that is asked."""
        for stub_class in (*module.requires, *module.optional):
            callee = self._provided.get(service_of(stub_class))
            if callee is not None:
                yield from ((f"/{path.strip('/')}", callee) for path in paths_of(stub_class))

    def _reached(self, module: Module) -> Iterator[Sighting]:
        for entry in entries(module, self._own_plans(module), self._code):
            yield from self._walk.sightings(entry)

    def _strays(self, module: Module) -> Iterator[Sighting]:
        """What is called where no way leads to, as far as could be seen: by name, or out of a framework."""
        for function in self._code.everything():
            is_own = function.file.name in self._files[module.name]
            if is_own and function not in self._walk.seen:
                yield from self._walk.sightings(_stray(function, module))

    def _sagas(self, sightings: Sequence[Sighting]) -> Iterator[Saga]:
        for key, after in self._after.items():
            before, module = self._before[key], key[0]
            if any(
                now and not then
                for now, then in zip(after.is_remote, before.is_remote, strict=True)
            ):
                yield Saga(
                    module=module,
                    before=before,
                    after=after,
                    callees=[
                        "" if step.at is None else self._provided.get(service_of(step.at), "")
                        for step in after.steps
                    ],
                    sightings=_by_stage(after, sightings),
                    code=self._code,
                    hides=any(
                        name.endswith("workflow.under_way")
                        for file in self._files[module].values()
                        for name in file.names.values()
                    ),
                )

    def _unchanged(self, sagas: Sequence[Saga]) -> Iterator[str]:
        changed = {id(saga.after) for saga in sagas}
        for key, after in self._after.items():
            if id(after) not in changed:
                how = "one transaction" if after.strategy == "together" else "a saga"
                verb = "stays" if after.strategy == self._before[key].strategy else "becomes"
                yield f"{after.workflow.name}: {verb} {how}"

    def _events(self) -> Iterator[tuple[str, str, str]]:
        homes = {service.rpartition(".")[0]: module for service, module in self._provided.items()}
        for module in self._move.modules:
            for event in dict.fromkeys(
                each for kind in module.reactions for each in reacted_to(kind)
            ):
                package, _, name = event.rpartition(".")
                publisher = homes.get(package)
                if publisher is not None and self._move.parts(publisher, module.name):
                    yield publisher, module.name, name


def _plans(application: Application, topology: Topology) -> Plans:
    return {
        (module.name, plan.workflow.name, plan.workflow.version): plan
        for _, module, plan in plans(application, topology)
    }


def _roots(module: Module, own: Sequence[Plan[Any]]) -> Iterator[str]:
    """Where the code of a module is, as its manifest and its workflows tell."""
    named = (*module.provides.values(), *module.reactions, module.demonstration, module.advice)
    yield from (kind.__module__ for kind in named if kind is not None)
    if module.wire.__module__ != Module.__module__:
        yield module.wire.__module__
    for plan in own:
        for stage in stages(module.name, plan):
            yield from filter(None, map(_unbound, stage.done))


def _unbound(done: Any) -> str:
    while isinstance(done, partial):
        done = done.func
    return str(getattr(done, "__module__", "") or "")


def _stubs(modules: Sequence[Module]) -> dict[str, dict[str, str]]:
    return {
        f"{stub_class.__module__}.{stub_class.__qualname__}": {
            path.rpartition("/")[2]: f"/{path.strip('/')}" for path in paths_of(stub_class)
        }
        for module in modules
        for stub_class in (*module.requires, *module.optional)
    }


def _stray(function: Function, module: Module) -> Entry:
    in_transaction = any(
        argument.annotation is not None and _OF_A_TRANSACTION in ast.unparse(argument.annotation)
        for argument in ast.walk(function.node.args)
        if isinstance(argument, ast.arg)
    )
    name = function.name.removeprefix(f"{function.file.name}.")
    opened = "a transaction that it is given" if in_transaction else ""
    return Entry(f"{name}, which nothing that was found calls", module.name, [function], opened)


def _by_stage(
    plan: Plan[Any], sightings: Sequence[Sighting]
) -> dict[tuple[int, bool], list[Sighting]]:
    found: dict[tuple[int, bool], list[Sighting]] = {}
    for each in sightings:
        stage = each.entry.stage
        if stage is not None and stage.plan is plan:
            found.setdefault((stage.place, stage.is_undo), []).append(each)
    return found
