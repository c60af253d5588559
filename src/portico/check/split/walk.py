"""What the application comes to, from where its code begins to run through the modules that share a process."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from portico.check.split.entries import Entry, servicing
from portico.check.split.mentions import Call, Mention, Use

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from portico.check.split.code import Code, Function
    from portico.check.split.mentions import Mentions
    from portico.check.split.move import Move
    from portico.module import Module


class Sighting(NamedTuple):
    """Something that happens in ``module``, at ``line`` of ``function``, when ``entry`` runs.

    ``transaction`` says what is open then, ``reading`` whether a connection is held for reading; ``loop``
    whether it may happen several times. For a call ``path`` is the rpc's and ``callee`` the module that is
    asked; for a workflow that is started, a unit of work and a named request both are empty.
    """

    entry: Entry
    module: str
    function: Function
    line: int
    what: type[Mention]
    transaction: str
    reading: bool
    loop: bool
    path: str = ""
    callee: str = ""

    @property
    def place(self) -> tuple[str, int]:
        """File and line."""
        return str(self.function.file.path), self.line


class _State(NamedTuple):
    module: str
    transaction: str
    reading: bool
    loop: bool


class Walk:
    """Goes from an entry as far as calls stay in the process, as the modules are placed after ``move``."""

    def __init__(
        self, move: Move, code: Code, mentions: Mentions, rpcs: Mapping[str, Mapping[str, str]]
    ) -> None:
        """``rpcs`` are those that each module may call: the module that is asked, by the rpc's path."""
        self._move = move
        self._code = code
        self._mentions = mentions
        self._rpcs = rpcs
        self._modules: Mapping[str, Module] = {module.name: module for module in move.modules}
        self.seen: set[Function] = set()

    def sightings(self, entry: Entry) -> list[Sighting]:
        """All that happens when ``entry`` runs, each place once for each of its circumstances."""
        start = _State(entry.module, entry.transaction, reading=False, loop=False)
        passed: set[tuple[Function, _State]] = set()
        found = [
            each
            for function in entry.functions
            for each in self._in(function, start, entry, passed)
        ]
        return list(dict.fromkeys(found))

    def _in(
        self,
        function: Function,
        state: _State,
        entry: Entry,
        passed: set[tuple[Function, _State]],
    ) -> Iterator[Sighting]:
        if (function, state) in passed:
            return
        passed.add((function, state))
        self.seen.add(function)
        for mention in self._mentions.of(function):
            now = _within(state, mention, function)
            if isinstance(mention, Use):
                yield from self._in(mention.function, now, entry, passed)
            elif isinstance(mention, Call):
                yield from self._called(function, mention, now, entry, passed)
            else:
                yield Sighting(entry, now.module, function, mention.line, type(mention), *now[1:])

    def _called(
        self,
        function: Function,
        call: Call,
        now: _State,
        entry: Entry,
        passed: set[tuple[Function, _State]],
    ) -> Iterator[Sighting]:
        for path, callee in self._asked(call, now.module):
            yield Sighting(
                entry, now.module, function, call.line, Call, *now[1:], path=path, callee=callee
            )
            if self._move.share(now.module, callee):
                there = now._replace(module=callee)
                name = path.rpartition("/")[2]
                for method in servicing(self._modules[callee], name, self._code):
                    yield from self._in(method, there, entry, passed)

    def _asked(self, call: Call, module: str) -> Sequence[tuple[str, str]]:
        """The rpcs that may be meant, each with the module that is asked."""
        allowed = self._rpcs[module]
        if call.path:
            return [(call.path, allowed[call.path])] if call.path in allowed else []
        named = (path for path in allowed if path.rpartition("/")[2] == call.name)
        return [(path, allowed[path]) for path in named]


def _within(state: _State, mention: Mention, function: Function) -> _State:
    here = mention.circumstances
    opened = f"the unit of work at {function.file.path.name}:{here.transaction}"
    return state._replace(
        transaction=state.transaction or (opened if here.transaction else ""),
        reading=state.reading or bool(here.reading),
        loop=state.loop or here.loop,
    )
