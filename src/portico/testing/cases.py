"""A table of cases: what is called, over which transports it means something, what must come of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from portico.rpc.policy import Policy
from portico.testing.transports import EVERY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from portico.testing.transports import Populate, Stand, Transport

    Script: TypeAlias = Callable[[Stand], Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row. ``script`` makes its calls through the stand's channels and returns what it saw.

    ``expects`` has fields of the outcome by path, see ``parity.differences``. ``without`` has the
    transports on which the case means nothing, each with the reason in words.
    """

    group: Group
    name: str
    script: Script
    expects: Mapping[str, Any]
    without: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.group.name}: {self.name}"

    @property
    def over(self) -> tuple[Transport, ...]:
        """The transports it runs over."""
        return tuple(name for name in EVERY if not self.without.get(name))


@dataclass(kw_only=True)
class Group:
    """Cases with servicers of one sort.

    ``populate`` adds them and returns the one that scripts look into. Where they ``stay``, one stand
    serves all of the group's cases, whose scripts then leave nothing behind; else each case has its own.
    """

    name: str
    populate: Populate
    policy: Policy = field(default_factory=Policy)
    stay: bool = False
    without: Mapping[str, str] = field(default_factory=dict)
    cases: list[Case] = field(default_factory=list, init=False)

    def add(
        self,
        name: str,
        script: Script,
        *,
        expects: Mapping[str, Any] | None = None,
        without: Mapping[str, str] | None = None,
    ) -> None:
        """Put a case into the table."""
        exceptions = {**self.without, **(without or {})}
        self.cases.append(
            Case(group=self, name=name, script=script, expects=expects or {}, without=exceptions)
        )

    def case(
        self,
        *,
        expects: Mapping[str, Any] | None = None,
        without: Mapping[str, str] | None = None,
    ) -> Callable[[Script], Script]:
        """Put the decorated function into the table, under its name as a sentence."""

        def added(script: Script) -> Script:
            name = getattr(script, "__name__", "").replace("_", " ").strip()
            self.add(name, script, expects=expects, without=without)
            return script

        return added


class Table:
    """All groups; their names are different, and so are those of the cases of one group."""

    def __init__(self, groups: Iterable[Group]) -> None:
        self.groups = tuple(groups)
        names = [str(case) for case in self]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two cases have one name: {', '.join(twice)}")

    def __iter__(self) -> Iterator[Case]:
        return (case for group in self.groups for case in group.cases)

    def __len__(self) -> int:
        return sum(len(group.cases) for group in self.groups)
