"""A server of the laboratory in a process of its own, so that it shares no interpreter with its callers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING, Literal, Self, cast

import grpc

from portico.lab import machine
from portico.lab.subject import MODULE, Hop, everything_on
from portico.lab.v1 import hop_pb2_grpc
from portico.resilience.admission import Admission
from portico.rpc.registry import Registry
from portico.rpc.server import Server
from portico.rpc.workers import Workers
from portico.telemetry import logs

if TYPE_CHECKING:
    from types import TracebackType

Kind = Literal["bare", "lean", "whole"]
"""``bare`` is grpcio's own server with the servicer and nothing else, ``lean`` the same on the kernel's
worker threads, ``whole`` the kernel's server with everything on."""

THREADS = 8


class ServerProcess:
    """Starts the server as a child, and stops it after the block.

    ``authorization`` is the header of a user who is signed in at a ``whole`` server; the others do
    not read it. The child also ends when this process does.
    """

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self.address = ""
        self.authorization = ""

    def __enter__(self) -> Self:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "portico.lab.server_process", self._kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            told = json.loads(self._answer())
        except BaseException:
            self._child.communicate()
            raise
        self.address, self.authorization = told["address"], told["authorization"]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._child.communicate()  # closes its stdin, which ends it

    def cpu_seconds(self) -> float:
        """Time that its process has spent on processors so far."""
        stdin = cast("IO[str]", self._child.stdin)
        stdin.write("cpu\n")
        stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        line = cast("IO[str]", self._child.stdout).readline()
        if not line:
            raise RuntimeError(f"the {self._kind} server did not start")
        return line


def serve(kind: Kind) -> None:
    """The child: say where it listens, answer questions on stdin, end with it."""
    logs.configure(level="warning")
    machine.keep_on_processor(0)
    address, authorization, stop = {"bare": _bare, "lean": _lean, "whole": _whole}[kind]()
    print(json.dumps({"address": address, "authorization": authorization}), flush=True)
    for _ in sys.stdin:
        print(time.process_time(), flush=True)
    stop()


def _bare() -> tuple[str, str, Stop]:
    return _grpcios(ThreadPoolExecutor(THREADS))


def _lean() -> tuple[str, str, Stop]:
    workers = Workers(THREADS)
    workers.start()
    return _grpcios(cast("ThreadPoolExecutor", workers))


def _grpcios(pool: ThreadPoolExecutor) -> tuple[str, str, Stop]:
    server = grpc.server(pool)
    hop_pb2_grpc.add_HopServiceServicer_to_server(Hop(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return f"127.0.0.1:{port}", "", lambda: server.stop(0).wait()


def _whole() -> tuple[str, str, Stop]:
    policy, authorization = everything_on()
    registry = Registry()
    add: AddServicer = hop_pb2_grpc.add_HopServiceServicer_to_server
    add(Hop(), registry.registrar(MODULE))
    # What waits is measured, not refused: the machine may be busy with something else.
    server = Server(threads=THREADS, admission=Admission(patience_seconds=60))
    server.bind()
    server.mount(registry, policy)
    server.start()
    return server.address, authorization, lambda: server.stop(0)


if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Stop = Callable[[], object]
    AddServicer = Callable[[Any, Any], None]

if __name__ == "__main__":
    serve(cast("Kind", sys.argv[1]))
