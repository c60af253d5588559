"""Events under fire: what the outbox promises, with everybody killed, and how fast it is.

Eight writers publish, in transactions some of which take their numbers first and commit last. Three
processes relay. Two consume, behind one address list. Consumers and relays are killed (SIGKILL) at
random and started again. Afterwards every event must have had its effect, once, in the order of its
aggregate. Then, without kills, events are published at a steady rate and the time is taken from before
each is written until the consumer writes its effect.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import NullPool, create_engine

from portico.data import EmbeddedPostgres
from portico.lab import machine
from portico.lab.lab_process import LabProcess
from portico.lab.outbox import consuming, relaying, tables, writing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

EVENTS = 100_000
RELAYS = 3
CONSUMERS = 2
RATE = 500.0
RATE_SECONDS = 20.0
AIM_P99_MS = 100
"""At the rate above; at the worst an event takes ``WORST_MS``."""
WORST_MS = 2000

_LOOK_SECONDS = 0.1
_KILL_SECONDS = 2.0, 5.0  # from one kill to the next
_PATIENCE_SECONDS = 60.0
_PATIENCE_PER_EVENT_SECONDS = 0.01


def main(
    json_path: Path | None, *, events: int = EVENTS, rate_seconds: float = RATE_SECONDS
) -> int:
    """Measure, print, and write the numbers to ``json_path`` if there is one; 1 when anything is wrong."""
    found = measure(events=events, rate_seconds=rate_seconds)
    print(
        f"{found['events']} events by {writing.WRITERS} writers in {found['writing_seconds']:.1f} s, delivered in"
        f" {found['seconds']:.1f} s ({found['events_per_second']:.0f} a second) by {RELAYS} relays to"
        f" {CONSUMERS} consumers; {found['kills']['consumer']} kills of consumers,"
        f" {found['kills']['relay']} of relays"
    )
    told = found["at_rate"]
    print(
        f"at {told['events_per_second']:.0f} events/s for {told['seconds']:.0f} s: p50 {told['p50_ms']:.1f} ms,"
        f" p99 {told['p99_ms']:.1f} ms, longest {told['longest_ms']:.1f} ms"
        f" (aim: p99 {AIM_P99_MS} ms, at the worst {WORST_MS} ms)"
    )
    wrong = found["violations"]
    print(f"every effect looked for: {'; '.join(wrong) or 'each there, once, in order'}")
    if json_path is not None:
        json_path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 1 if wrong else 0


def measure(
    *, events: int = EVENTS, rate_seconds: float = RATE_SECONDS, kills: bool = True, seed: int = 1
) -> dict[str, Any]:
    """The numbers; ``seed`` chooses who is killed when."""
    with Yard() as yard:
        fire = _under_fire(yard, events=events, random=Random(seed) if kills else None)
        wrong = tables.violations(yard.value)
    with Yard() as yard:
        steady = _at_rate(yard, rate_seconds)
        wrong += tables.violations(yard.value)
    return {"machine": machine.described(), **fire, "at_rate": steady, "violations": wrong}


class Yard:
    """A Postgres, with fsync, and the processes on it; a context manager."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.kills = {"relay": 0, "consumer": 0}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = stack.enter_context(_folder())
            postgres = stack.enter_context(EmbeddedPostgres(folder / "postgres"))
            self._url = postgres.url.render_as_string(hide_password=False)
            self._engine = create_engine(postgres.url, poolclass=NullPool)
            with self._engine.begin() as session:
                tables.create(_Statements(session.exec_driver_sql))
            self._stack = stack
            self._consumers = [self._consumer("0") for _ in range(CONSUMERS)]
            addresses = [each.told for each in self._consumers]
            self._relays = [
                stack.enter_context(self._process(relaying.__name__, *addresses))
                for _ in range(RELAYS)
            ]
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def writer(self, *order: str) -> LabProcess:
        """The process that publishes, not started."""
        return self._process(writing.__name__, *order)

    def value(self, statement: str) -> Any:
        """What a statement answers."""
        return self.rows(statement)[0][0]

    def rows(self, statement: str) -> list[Any]:
        """The same, of several rows."""
        with self._engine.begin() as session:
            return list(session.exec_driver_sql(statement))

    def kill_any(self, random: Random) -> None:
        """Kill a consumer, or now and then a relay, and start it again."""
        kind = random.choice(("consumer", "consumer", "relay"))
        victim = random.choice(self._consumers if kind == "consumer" else self._relays)
        victim.kill()
        victim.start()
        self.kills[kind] += 1

    def is_left(self) -> bool:
        """Whether anything that was published has yet to be delivered."""
        return not tables.are_all_delivered(self.value)

    def _consumer(self, port: str) -> LabProcess:
        """It gets a port, and the same one when it is started again."""
        with self._process(consuming.__name__, port) as asked:
            port = str(asked.told).rpartition(":")[2]
        return self._stack.enter_context(self._process(consuming.__name__, port))

    def _process(self, module: str, *arguments: str) -> LabProcess:
        return LabProcess(module, self._url, *arguments)


class _Statements:
    """What the kernel's migrations run their statements with."""

    def __init__(self, execute: Any) -> None:
        self.execute = execute


def _under_fire(yard: Yard, *, events: int, random: Random | None) -> dict[str, Any]:
    began = time.monotonic()
    with yard.writer("late", str(events), "0") as writer:
        kill_at = began
        until = began + _PATIENCE_SECONDS + events * _PATIENCE_PER_EVENT_SECONDS
        published = 0
        while time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)
            published = published or int(yard.value(_PUBLISHED)) // events
            if published and not yard.is_left():
                break
            if random is not None and time.monotonic() > kill_at:
                yard.kill_any(random)
                kill_at = time.monotonic() + random.uniform(*_KILL_SECONDS)
        seconds = time.monotonic() - began
        return {
            "events": events,
            "writing_seconds": writer.answer(),
            "seconds": seconds,
            "events_per_second": events / seconds,
            "kills": yard.kills,
        }


def _at_rate(yard: Yard, seconds: float) -> dict[str, Any]:
    with yard.writer("steady", str(RATE), str(seconds)) as writer:
        took = writer.answer()
    until = time.monotonic() + _PATIENCE_SECONDS
    while yard.is_left() and time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)
    waited = [row[0] for row in yard.rows("SELECT waited_ms FROM receiver.effects")]
    return {
        "events_per_second": len(waited) / took,
        "seconds": took,
        "p50_ms": median(waited),
        "p99_ms": quantiles(waited, n=100)[-1],
        "longest_ms": max(waited),
    }


_PUBLISHED = "SELECT coalesce(sum(last), 0) FROM sender.aggregates"


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="portico-lab-"))
    folder.chmod(0o711)  # the user who runs Postgres goes through it when root measures
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
