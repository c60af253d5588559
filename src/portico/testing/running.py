"""Runs cases over their transports, all of a case at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from portico.testing.parity import Difference, differences
from portico.testing.planted import Forgetful
from portico.testing.transports import EVERY, Stand

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from portico.testing.cases import Case, Group, Table
    from portico.testing.transports import Transport

_LANES = 3


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a case: its outcome over each transport, and where the script itself failed."""

    case: Case
    outcomes: Mapping[Transport, Any]
    failures: Mapping[Transport, str] = field(default_factory=dict)

    @property
    def differences(self) -> list[Difference]:
        """Every field that differs; a script that failed differs as a whole."""
        failed = [
            Difference(name, "the script", failure, "an outcome")
            for name, failure in self.failures.items()
        ]
        if not self.outcomes:
            return failed
        return failed + differences(self.outcomes, expects=self.case.expects)

    @property
    def missing(self) -> tuple[Transport, ...]:
        """The transports on which it ran not, without a reason given."""
        ran = {*self.outcomes, *self.failures}
        return tuple(name for name in EVERY if name not in ran and not self.case.without.get(name))


class Runner:
    """Holds the stands of groups that stay, one for all with the same servicers; a context manager.

    With ``plant`` the channels of that transport drop one trailer (``portico.testing.planted``):
    whoever runs a table so must find it.
    """

    def __init__(self, *, plant: str = "") -> None:
        self._plant = plant
        self._staying: dict[Any, tuple[Stand, threading.Lock]] = {}
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._pool = ThreadPoolExecutor(_LANES * len(EVERY), thread_name_prefix="parity")

    def run(self, case: Case) -> Result:
        """The case over all of its transports."""
        outcomes: dict[Transport, Any] = {}
        failures: dict[Transport, str] = {}

        def run_over(transport: Transport) -> None:
            try:
                outcomes[transport] = self._outcome(case, transport)
            except Exception as failure:  # noqa: BLE001  # it is told as a difference
                failures[transport] = repr(failure)

        list(self._pool.map(run_over, case.over))
        ordered = {name: outcomes[name] for name in EVERY if name in outcomes}
        return Result(case=case, outcomes=ordered, failures=failures)

    def run_all(self, table: Table) -> Iterator[Result]:
        """Every case, in the order of the table. Several groups are at work at a time: much of it is waiting."""
        with ThreadPoolExecutor(_LANES) as lanes:
            of_groups = lanes.map(lambda group: [*map(self.run, group.cases)], table.groups)
            for results in of_groups:
                yield from results

    def stop(self) -> None:
        """Close the stands."""
        self._pool.shutdown()
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _outcome(self, case: Case, transport: Transport) -> Any:
        with self._stand(case.group, transport) as stand:
            outcome = case.script(stand)
            stand.verify()
        return outcome

    @contextmanager
    def _stand(self, group: Group, transport: Transport) -> Iterator[Stand]:
        if not group.stay:
            with self._made(group, transport) as stand:
                yield stand
            return
        key = group.populate, group.policy, transport
        with self._lock:
            if key not in self._staying:
                made = self._stack.enter_context(self._made(group, transport))
                self._staying[key] = made, threading.Lock()
            stand, alone = self._staying[key]
        with alone:
            yield stand

    def _made(self, group: Group, transport: Transport) -> Stand:
        around = Forgetful if transport == self._plant else None
        return Stand(transport, group.populate, policy=group.policy, around=around)
