"""Stands in for a program: says that it is ready, logs, and ends as it is told."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from queue import SimpleQueue
from types import FrameType
from typing import TextIO


def say(text: str, *, to: TextIO = sys.stdout) -> None:
    to.write(f"{text}\n")
    to.flush()


def main() -> None:
    told: SimpleQueue[str] = SimpleQueue()

    def on_signal(number: int, frame: FrameType | None) -> None:
        told.put(signal.Signals(number).name)

    if "--deaf" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, on_signal)
        signal.signal(signal.SIGINT, on_signal)
    say(json.dumps({"event": "starting", "pid": os.getpid()}), to=sys.stderr)
    if "--broken" in sys.argv:
        say("no such thing", to=sys.stderr)
        sys.exit(3)
    say("before\nstandin is ready\n  and greets")
    if "--crash" in sys.argv:
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)
    order = told.get()
    say(f"told {order}", to=sys.stderr)
    if order == "SIGTERM" and "--linger" in sys.argv:
        time.sleep(0.3)
    say("bye")


if __name__ == "__main__":
    main()
