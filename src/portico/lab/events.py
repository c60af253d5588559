"""Events under fire: what the outbox promises, with everybody killed, and how fast it is.

Eight writers publish, in transactions some of which take their numbers first and commit last. Three
processes relay. Two consume, behind one address list, or as two readers of one stream in Redis.
Consumers and relays are killed (SIGKILL) at random and started again, a Redis is flushed. Afterwards
every event must have had its effect, once, in the order of its aggregate. Then, without kills, events
are published at a steady rate and the time is taken from before each is written until the consumer
writes its effect.
"""

from __future__ import annotations

import json
import time
from random import Random
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from portico.lab import machine
from portico.lab.outbox import tables, writing
from portico.lab.outbox.yard import CONSUMERS, RELAYS, Yard

if TYPE_CHECKING:
    from pathlib import Path

EVENTS = 100_000
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
    json_path: Path | None,
    *,
    transport: str = "rpc",
    events: int = EVENTS,
    rate_seconds: float = RATE_SECONDS,
) -> int:
    """Measure, print, and write the numbers to ``json_path`` if there is one; 1 when anything is wrong.

    ``transport`` is rpc or redis; for the latter a Redis is started, for this alone.
    """
    found = measure(transport=transport, events=events, rate_seconds=rate_seconds)
    print("\n".join(lines(found)))
    if json_path is not None:
        json_path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 1 if found["violations"] else 0


def lines(found: dict[str, Any]) -> list[str]:
    """What ``measure`` found, for people."""
    kills, late, told = found["kills"], found["late"], found["at_rate"]
    writers = f"{writing.WRITERS} writers in {found['writing_seconds']:.1f} s"
    ways = f"by {found['transport']} from {RELAYS} relays to {CONSUMERS} consumers"
    flushes = f", {kills['redis']} flushes of Redis" if "redis" in kills else ""
    wrong = "; ".join(found["violations"]) or "none, each effect is there, once, in order"
    overtaken = f"{late['transactions']} transactions, overtaken by {late['overtaken_by']} events"
    arrived = f"of their {late['events']} events {late['arrived']} have arrived"
    rate = f"{found['events_per_second']:.0f} events/s"
    at = f"at {told['events_per_second']:.0f} events/s for {told['seconds']:.0f} s"
    latency = f"p50 {told['p50_ms']:.1f} ms, p99 {told['p99_ms']:.1f} ms, longest {told['longest_ms']:.1f} ms"
    return [
        f"events: {found['events']} by {writers}, {ways}",
        f"kills: {kills['consumer']} of consumers, {kills['relay']} of relays{flushes}",
        f"violations: {wrong}",
        f"numbers taken first, committed last: {overtaken} (median); {arrived}",
        f"throughput: {rate} from the first write to the last delivery, {found['seconds']:.1f} s",
        f"latency {at}: {latency} (aim: p99 {AIM_P99_MS} ms, at the worst {WORST_MS} ms)",
    ]


def measure(
    *,
    transport: str = "rpc",
    events: int = EVENTS,
    rate_seconds: float = RATE_SECONDS,
    kills: bool = True,
    seed: int = 1,
) -> dict[str, Any]:
    """The numbers; ``seed`` chooses who is killed when."""
    with Yard(transport) as yard:
        fire = _under_fire(yard, events=events, random=Random(seed) if kills else None)
        late = tables.latecomers(yard.rows)
        wrong = tables.violations(yard.value)
    with Yard(transport) as yard:
        steady = at_rate(yard, RATE, rate_seconds)
        wrong += tables.violations(yard.value)
    return {
        "machine": machine.described(),
        "transport": transport,
        **fire,
        "late": late,
        "at_rate": steady,
        "violations": wrong,
    }


def at_rate(yard: Yard, rate: float, seconds: float) -> dict[str, float]:
    """How long events take at ``rate`` a second, nobody being killed."""
    with yard.writer("steady", str(rate), str(seconds)) as writer:
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


_PUBLISHED = "SELECT coalesce(sum(last), 0) FROM sender.aggregates"
