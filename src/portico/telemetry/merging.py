"""The metrics of all workers of a process in one scrape, whichever of them is asked.

Workers that share a port share a folder, too. Each answers there, on a Unix socket, with what it has
measured; the one that is scraped asks the others and adds them up. What a scrape has shown of a
worker is kept in a file, so that counters do not run backwards when the worker ends or is killed.
"""

from __future__ import annotations

import fcntl
import math
import os
import secrets
import socket
import threading
from contextlib import ExitStack, contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from portico.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from portico.telemetry.metrics import Metrics

_SOCKET, _KEPT = ".sock", ".json"
_ENDED = "ended"
_LARGEST_BYTES = 64 * 1024**2
_BACKLOG = 64
_SENDING_SECONDS = 5.0
# What is summed over workers tells about all of them; of these the largest does.
_LARGEST = ("_seconds", "_state", "_ratio", "_info")

_log = logger(__name__)


class SharedMetrics:
    """What ``metrics`` of this worker and those of its siblings have measured together."""

    def __init__(self, metrics: Metrics, folder: Path, *, patience_seconds: float = 0.5) -> None:
        """``folder`` is the workers' own. A sibling that takes longer is told from its last answer."""
        self._metrics = metrics
        self._folder = folder
        self._patience_seconds = patience_seconds
        self._name = f"{os.getpid()}-{secrets.token_hex(3)}"
        self._listener: socket.socket | None = None
        self._keeping = threading.Lock()

    def start(self) -> None:
        """Answer the others from now on."""
        listener = socket.socket(socket.AF_UNIX)
        with ExitStack() as stack:
            stack.callback(listener.close)
            path = self._folder / f"{self._name}.new"
            listener.bind(str(path))
            listener.listen(_BACKLOG)
            path.rename(self._socket)  # whoever finds it is answered
            stack.pop_all()
        self._listener = listener
        threading.Thread(
            target=self._answer, args=(listener,), name="portico-metrics", daemon=True
        ).start()

    def stop(self) -> None:
        """Leave the counts to the others."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        self._snapshot()
        self._socket.unlink(missing_ok=True)
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        listener.close()

    def render(self) -> tuple[bytes, str]:
        """The answer to a scrape: body and content type, in Prometheus' text format."""
        total = _Total()
        total.add(self._snapshot())
        with self._locked():
            workers = 1 + self._add_siblings(total)
        told = GaugeMetricFamily("portico_workers", "Workers that this scrape has heard.", workers)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Families([*total.families(), told]))
        return generate_latest(registry), CONTENT_TYPE_LATEST

    @property
    def _socket(self) -> Path:
        return self._folder / f"{self._name}{_SOCKET}"

    def _add_siblings(self, total: _Total) -> int:
        """Add the others, those that have ended included; how many have answered."""
        until = monotonic() + self._patience_seconds
        heard = 0
        with ExitStack() as stack:
            # All are asked before the first is listened to: they work at the same time.
            asked = {name: _asked(stack, path, until) for name, path in self._siblings()}
            self._fold({name for name, answering in asked.items() if answering is None})
            total.add(_read(self._folder / f"{_ENDED}{_KEPT}"), counts_only=True)
            for name, answering in asked.items():
                if answering is None:
                    continue
                answer = _heard(answering, until)
                heard += answer is not None
                kept = self._folder / f"{name}{_KEPT}"
                total.add(answer or _read(kept), counts_only=answer is None)
        return heard

    def _siblings(self) -> Iterator[tuple[str, Path]]:
        """Everyone that has ever shown anything, by name, with the socket where it may answer."""
        names = {path.stem for path in self._folder.iterdir() if path.suffix in (_SOCKET, _KEPT)}
        for name in sorted(names - {self._name, _ENDED}):
            yield name, self._folder / f"{name}{_SOCKET}"

    def _fold(self, ended: set[str]) -> None:
        """Put what is kept of those that have ended into one file."""
        if not ended:
            return
        total = _Total()
        for name in (_ENDED, *sorted(ended)):
            total.add(_read(self._folder / f"{name}{_KEPT}"), counts_only=True)
        _write(self._folder / f"{_ENDED}{_KEPT}", total.families())
        for name in ended:
            for suffix in (_SOCKET, _KEPT):
                (self._folder / f"{name}{suffix}").unlink(missing_ok=True)

    def _snapshot(self) -> list[Metric]:
        """What this worker has measured, which is also kept: it is shown, and must not be unsaid."""
        with self._keeping:
            families = [*self._metrics.collect()]
            _write(self._folder / f"{self._name}{_KEPT}", families)
        return families

    def _answer(self, listener: socket.socket) -> None:
        while self._listener is listener:
            try:
                asking, _ = listener.accept()
            except OSError:
                return  # stopped
            with asking:
                try:
                    asking.settimeout(_SENDING_SECONDS)
                    asking.sendall(_dumped(self._snapshot()))
                except OSError:  # it has lost its patience
                    continue
                except Exception:  # noqa: BLE001  # the next one shall be answered again
                    _log.exception("metrics could not be told")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Nobody else puts the ended ones together meanwhile: they would count twice, or not at all."""
        with (self._folder / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class _Total:
    """Families of several workers, added up."""

    def __init__(self) -> None:
        self._families: dict[str, Metric] = {}
        self._values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}

    def add(self, families: Iterable[Metric], *, counts_only: bool = False) -> None:
        """Add one worker's. With ``counts_only`` what only a running worker has is left out: its gauges."""
        for family in families:
            if counts_only and family.type not in ("counter", "histogram"):
                continue
            self._families.setdefault(family.name, family)
            values = self._values.setdefault(family.name, {})
            largest = family.type == "gauge" and family.name.endswith(_LARGEST)
            for sample in family.samples:
                key = (sample.name, tuple(sample.labels.items()))
                before = values.get(key)
                if before is None:
                    values[key] = sample.value
                else:
                    values[key] = max(before, sample.value) if largest else before + sample.value

    def families(self) -> Iterator[Metric]:
        """The sums."""
        for name, family in self._families.items():
            total = Metric(name, family.documentation, family.type)
            for (sample, labels), value in self._values[name].items():
                total.add_sample(sample, dict(labels), value)
            yield total


class _Families(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._found = families

    def collect(self) -> Iterator[Metric]:
        yield from self._found


def _asked(stack: ExitStack, path: Path, until: float) -> socket.socket | None:
    """A connection to the worker that answers at ``path``; None when it has ended."""
    asking = stack.enter_context(socket.socket(socket.AF_UNIX))
    asking.settimeout(max(until - monotonic(), 0.01))
    try:
        asking.connect(str(path))
    except (ConnectionRefusedError, FileNotFoundError):
        return None
    except OSError:  # busy: it is there, and what is kept of it must do
        asking.close()
    return asking


def _heard(answering: socket.socket, until: float) -> list[Metric] | None:
    """The whole answer, or None when it did not come in time."""
    answer = bytearray()
    try:
        while chunk := _next(answering, until):
            answer += chunk
            if len(answer) > _LARGEST_BYTES:
                return None
        return _loaded(bytes(answer))
    except (OSError, ValueError):
        return None


def _next(answering: socket.socket, until: float) -> bytes:
    answering.settimeout(max(until - monotonic(), 0.001))
    return answering.recv(256 * 1024)


def _write(path: Path, families: Iterable[Metric]) -> None:
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(_dumped(families))
    new.rename(path)


def _read(path: Path) -> list[Metric]:
    try:
        return _loaded(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return []


def _dumped(families: Iterable[Metric]) -> bytes:
    return orjson.dumps(
        [
            (
                family.name,
                family.documentation,
                family.type,
                [(sample.name, sample.labels, sample.value) for sample in family.samples],
            )
            for family in families
        ]
    )


def _loaded(data: bytes) -> list[Metric]:
    """The families again; ValueError when they are not whole."""
    families = []
    for name, documentation, kind, samples in orjson.loads(data):
        family = Metric(name, documentation, kind)
        for sample, labels, value in samples:
            family.add_sample(sample, labels, math.nan if value is None else value)
        families.append(family)
    return families
