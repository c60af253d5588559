"""A deadline over a chain of processes: a calls b, b calls c, and c sleeps for much longer.

The caller has ``DEADLINE_SECONDS``. It must hear DEADLINE_EXCEEDED when they are over, neither much sooner
nor later, and shortly afterwards no process may still be at work on the call. Each counts what it works on.
"""

from __future__ import annotations

import json
import time
from statistics import median
from typing import TYPE_CHECKING, Any

import grpc

from portico.context import entered, root
from portico.lab import chain_link, machine
from portico.lab.hopping import peer_at, stub_of
from portico.lab.lab_process import LabProcess
from portico.lab.subject import USER, a_request

if TYPE_CHECKING:
    from pathlib import Path

DEADLINE_SECONDS = 0.3
CALLS = 20
AIM_SECONDS_OFF = 0.05
REST_SECONDS = 0.1

_LINK = chain_link.__name__


def main(json_path: Path | None) -> None:
    """Measure, print, and write the numbers to ``json_path`` if there is one."""
    found = measure(calls=CALLS)
    took = found["took_ms"]
    print(
        f"{found['calls']} calls with {DEADLINE_SECONDS * 1000:.0f} ms over a -> b -> c, and c sleeps"
    )
    print(f"ended as: {', '.join(f'{count} {code}' for code, count in found['codes'].items())}")
    print(f"after ms: {min(took):.0f} at least, {median(took):.0f} median, {max(took):.0f} at most")
    print(f"still at work {REST_SECONDS * 1000:.0f} ms later: {json.dumps(found['still_at_work'])}")
    print(f"calls seen: {json.dumps(found['seen'])}")
    print(f"aims: within {AIM_SECONDS_OFF * 1000:.0f} ms of the deadline, nobody at work")
    if json_path is not None:
        json_path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def measure(*, calls: int) -> dict[str, Any]:
    """The numbers, after one call that connects everybody."""
    with LabProcess(_LINK) as c, LabProcess(_LINK, c.told) as b, LabProcess(_LINK, b.told) as a:
        links = {"a": a, "b": b, "c": c}
        peer = peer_at(a.told, settings=chain_link.SETTINGS)
        try:
            stub = stub_of(peer)
            _call(stub)
            codes: dict[str, int] = {}
            took, at_work = [], dict.fromkeys(links, 0)
            for _ in range(calls):
                code, seconds = _call(stub)
                codes[code] = codes.get(code, 0) + 1
                took.append(seconds * 1000)
                time.sleep(REST_SECONDS)
                for name, link in links.items():
                    at_work[name] += link.ask("state")["working"]
        finally:
            peer.close()
        seen = {name: link.ask("state")["seen"] for name, link in links.items()}
    return {
        "machine": machine.described(),
        "calls": calls,
        "codes": codes,
        "took_ms": took,
        "still_at_work": at_work,
        "seen": seen,
    }


def _call(stub: Any) -> tuple[str, float]:
    began = time.monotonic()
    code = grpc.StatusCode.OK
    with entered(root(identity=USER, deadline=began + DEADLINE_SECONDS)):
        try:
            stub.Hop(a_request())
        except grpc.RpcError as failure:
            code = failure.code()
    return code.name, time.monotonic() - began
