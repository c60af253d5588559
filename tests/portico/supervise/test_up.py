"""``portico up`` and ``portico serve --workers`` with a small application: real processes, real clients."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import grpc
import pytest
from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as pb_grpc

from tests.portico.supervise.conftest import (
    PATIENCE_SECONDS,
    STANDIN,
    is_running,
    wait_until,
)

_ADDRESSES = re.compile(r"gRPC\s+(?P<grpc>\S+:\d+)\s+REST\s+http://(?P<rest>\S+:\d+)")
_ALONE: Any = [("grpc.use_local_subchannel_pool", 1)]

_ONE = '[processes.app]\nmodules = ["*"]\n'
_TWO = '[processes.edge]\nfront = true\n[processes.greeter]\nmodules = ["greeter"]\n'


class Command:
    """``portico …`` as a process, on free ports."""

    def __init__(self, folder: Path, *arguments: str, linger_seconds: str = "1.5") -> None:
        self._out, self._err = folder / "said.txt", folder / "logged.txt"
        environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith("PORTICO_") and name != "REDIS_URL"
            },
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PORTICO_GRPC_PORT": "0",
            "PORTICO_HTTP_PORT": "0",
            "PORTICO_SUPERVISED__LINGER_SECONDS": linger_seconds,
        }
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "portico", *arguments, "--app", "hello:application"],
                cwd=STANDIN.parent,
                env=environment,
                stdout=out,
                stderr=err,
            )
        wait_until(lambda: bool(self._addresses()) or self.process.poll() is not None)
        found = self._addresses()
        assert found, self.logged()
        self.grpc, self.rest = found["grpc"], found["rest"]

    def logged(self) -> str:
        return self._err.read_text()

    def wait_for(self, text: str, *, times: int = 1) -> None:
        wait_until(lambda: self.logged().count(text) >= times or self.process.poll() is not None)
        assert self.logged().count(text) >= times, self.logged()

    def children(self) -> list[int]:
        """The processes that it runs."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in listed.split()]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)

    def _addresses(self) -> re.Match[str] | None:
        return _ADDRESSES.search(self._out.read_text())


@pytest.fixture
def commands() -> Iterator[list[Command]]:
    started: list[Command] = []
    yield started
    for command in started:
        command.process.kill()
        command.process.wait()


class Crowd:
    """Clients of all kinds, each with a request about every 80 ms: some 50 a second."""

    def __init__(self, command: Command) -> None:
        self._command = command
        self._stopping = threading.Event()
        self.count = 0
        self.failures: list[str] = []
        self._threads = [
            threading.Thread(target=self._loop, args=(ask,))
            for ask in (
                self._by_one_channel(),
                self._by_new_channels,
                self._by_one_connection(),
                self._by_new_connections,
            )
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._channel.close()
        self._connection.close()

    def _loop(self, ask: Callable[[], None]) -> None:
        while not self._stopping.wait(0.08):
            try:
                ask()
            except (OSError, http.client.HTTPException, grpc.RpcError, AssertionError) as failure:
                self.failures.append(f"{ask}: {failure!r}")
            self.count += 1

    def _by_one_channel(self) -> Callable[[], None]:
        self._channel = grpc.insecure_channel(self._command.grpc, _ALONE)
        return lambda: _hello(self._channel)

    def _by_new_channels(self) -> None:
        with grpc.insecure_channel(self._command.grpc, _ALONE) as channel:
            _hello(channel)

    def _by_one_connection(self) -> Callable[[], None]:
        self._connection = http.client.HTTPConnection(self._command.rest, timeout=20)
        return lambda: _probe(self._connection)

    def _by_new_connections(self) -> None:
        connection = http.client.HTTPConnection(self._command.rest, timeout=20)
        try:
            _probe(connection)
        finally:
            connection.close()


def _hello(channel: grpc.Channel) -> None:
    answer = pb_grpc.GreeterServiceStub(channel).SayHello(
        pb.SayHelloRequest(name="you"), timeout=20
    )
    assert answer.message == "Hello, you!"


def _probe(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", "/readyz")
    response = connection.getresponse()
    response.read()
    assert response.status == 200


def _scraped(command: Command, series: str) -> float:
    connection = http.client.HTTPConnection(command.rest, timeout=20)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return sum(
        float(line.rpartition(" ")[2]) for line in text.splitlines() if re.match(series, line)
    )


def test_a_module_moves_out_of_the_running_process_and_no_request_fails(
    commands: list[Command], tmp_path: Path
) -> None:
    file = tmp_path / "topology.toml"
    file.write_text(_ONE)
    command = Command(tmp_path, "up", str(file))
    commands.append(command)
    with Crowd(command) as crowd:
        time.sleep(0.5)
        before = command.children()
        file.write_text(_TWO)
        command.process.send_signal(signal.SIGHUP)
        command.wait_for("the topology is in place")
        time.sleep(0.3)
    after = command.children()
    assert crowd.failures == []
    assert crowd.count > 20
    assert (len(before), len(after)) == (1, 2)
    assert set(before).isdisjoint(after)
    assert command.stop() == 0
    assert not any(map(is_running, after))


def test_workers_share_ports_and_metrics_and_one_that_is_killed_comes_back(
    commands: list[Command], tmp_path: Path
) -> None:
    command = Command(tmp_path, "serve", "--workers", "2")
    commands.append(command)
    workers = command.children()
    assert len(workers) == 2
    for _ in range(20):
        with grpc.insecure_channel(command.grpc, _ALONE) as channel:
            _hello(channel)
    calls = r"portico_calls_total.*SayHello.*"
    assert {_scraped(command, calls) for _ in range(5)} == {20}
    assert _scraped(command, "portico_workers ") == 2
    os.kill(workers[0], signal.SIGKILL)
    command.wait_for("a process is ready", times=3)
    wait_until(lambda: _scraped(command, "portico_workers ") == 2)
    assert _scraped(command, calls) == 20
    assert command.stop() == 0


def test_a_topology_that_cannot_be_and_a_port_that_is_taken_are_told_and_everything_serves_on(
    commands: list[Command], tmp_path: Path
) -> None:
    file = tmp_path / "topology.toml"
    file.write_text(_TWO)
    command = Command(tmp_path, "up", str(file), linger_seconds="300")
    commands.append(command)
    before = command.children()
    second = subprocess.run(
        [sys.executable, "-m", "portico", "up", file, "--app", "hello:application"],
        cwd=STANDIN.parent,
        env={**os.environ, "PORTICO_GRPC_PORT": command.grpc.rpartition(":")[2]},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert second.returncode == 1
    assert f"gRPC cannot listen on {command.grpc}: Address already in use" in second.stderr
    file.write_text('[processes.app]\nmodules = ["nobody"]\n')
    command.process.send_signal(signal.SIGHUP)
    command.wait_for("there is no module nobody")
    file.write_text(f'events = "redis"\n{_TWO}')
    command.process.send_signal(signal.SIGHUP)
    command.wait_for("redis_url is required")
    assert command.children() == before
    with grpc.insecure_channel(command.grpc, _ALONE) as channel:
        _hello(channel)
    command.process.kill()  # nobody takes over: nobody lingers
    wait_until(lambda: not any(map(is_running, before)))
