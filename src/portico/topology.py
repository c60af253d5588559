"""Where each module runs: a topology, read from one TOML file.

    name = "payments-apart"

    [processes.shop]
    modules = ["*"]          # whatever no other process names
    front = true             # outside clients come here: public gRPC and REST

    [processes.payments]
    modules = ["payments"]

    [edges."orders -> payments"]
    timeout_ms = 2000

``events = "redis"`` takes events from process to process by Redis Streams instead of by calls.
``enabled_modules`` turns modules off: a list of those that are on, or a table such as
``business = false``. Without a file there is one process with every module.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from portico.module import ModuleError, providers, start_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from portico.module import Module

Isolation = Literal["copy", "share"]
EventTransport = Literal["rpc", "redis"]

_EVERY_OTHER = "*"
_ARROW = "->"
_NAME = r"^[a-z][a-z0-9-]{0,39}$"
_ADDRESS = r"^$|^(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$"
_MOST_PORT = 65535


class TopologyError(Exception):
    """The topology cannot be used; the message names the file, the entry and what is wrong with it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """One kind of process.

    ``modules`` are in the order in which they start. Outside clients reach a ``front``. Other
    processes call it at ``address``, ``host:port``; when that is empty, whoever starts the
    topology assigns one. ``replicas`` run in places of their own, ``workers`` share one place and its ports.
    ``threads``, ``pool_size`` and ``database_url`` stand for the settings of the same purpose.
    """

    name: str
    modules: tuple[str, ...] = ()
    front: bool = False
    address: str = ""
    workers: int = 1
    replicas: int = 1
    threads: int | None = None
    pool_size: int | None = None
    database_url: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Edge:
    """How one module calls another. ``timeout_ms`` bounds each call, wherever the two run.

    ``isolation`` tells, where they share a process, whether messages are copied or shared.
    """

    timeout_ms: int | None = None
    isolation: Isolation = "copy"


@dataclass(frozen=True, kw_only=True)
class Topology:
    """The processes of an application, each after those it calls where that is possible."""

    name: str
    processes: Mapping[str, Process]
    edges: Mapping[tuple[str, str], Edge] = field(default_factory=dict)
    disabled: frozenset[str] = frozenset()
    events: EventTransport = "rpc"
    """What takes events from one process to another."""

    @staticmethod
    def monolith(modules: Sequence[Module]) -> Topology:
        """One process with all of them. Raises ModuleError when they do not fit together."""
        names = tuple(module.name for module in start_order(modules))
        process = Process(name="app", modules=names, front=True)
        return Topology(name="monolith", processes={process.name: process})

    @staticmethod
    def load(path: Path, modules: Sequence[Module]) -> Topology:
        """Read the file at ``path`` for an application with these modules.

        Raises TopologyError that names everything that is wrong with it, and ModuleError when the
        modules that are on do not fit together.
        """
        return _resolved(_read(path), path, modules)

    @property
    def is_split(self) -> bool:
        """Whether there is more than one process."""
        return len(self.processes) > 1

    @property
    def needs_redis(self) -> bool:
        """Whether events go from one process to another by Redis."""
        return self.is_split and self.events == "redis"

    def process_of(self, module: str) -> Process:
        """The process that runs ``module``. Raises KeyError for one that is off or unknown."""
        for process in self.processes.values():
            if module in process.modules:
                return process
        raise KeyError(module)

    def edge(self, caller: str, callee: str) -> Edge:
        """How ``caller`` calls ``callee``; the defaults when the file does not say."""
        return self.edges.get((caller, callee), _DEFAULT_EDGE)


_DEFAULT_EDGE = Edge()


class _ProcessTable(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    modules: list[str] = []
    front: bool | None = None
    address: str = Field("", pattern=_ADDRESS)
    workers: int = Field(1, ge=1, le=256)
    replicas: int = Field(1, ge=1, le=1000)
    threads: int | None = Field(None, ge=1, le=1024)
    pool_size: int | None = Field(None, ge=1, le=1000)
    database_url: str | None = None


class _EdgeTable(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    timeout_ms: int | None = Field(None, ge=1, le=3_600_000)
    isolation: Isolation = "copy"


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str | None = Field(None, pattern=_NAME)
    enabled_modules: list[str] | dict[str, bool] = {}
    events: EventTransport = "rpc"
    processes: dict[Annotated[str, Field(pattern=_NAME)], _ProcessTable] = Field(min_length=1)
    edges: dict[str, _EdgeTable] = {}


def _read(path: Path) -> _File:
    try:
        with path.open("rb") as file:
            return _File.model_validate(tomllib.load(file))
    except OSError as failure:
        raise TopologyError(f"topology {path}: {failure.strerror}") from failure
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as failure:
        raise TopologyError(f"topology {path} is not TOML: {failure}") from failure
    except ValidationError as failure:
        raise TopologyError(
            "\n".join(
                f"topology {path}: {'.'.join(map(str, error['loc']))}: {error['msg']}"
                for error in failure.errors()
            )
        ) from None


def _resolved(file: _File, path: Path, modules: Sequence[Module]) -> Topology:
    known = [module.name for module in modules]
    disabled = _disabled(file, known)
    enabled = [module for module in modules if module.name not in disabled]
    wrong = [
        *_strangers(file, known),
        *_misplaced(file, [module.name for module in enabled]),
        *_confused(file),
    ]
    if wrong:
        raise TopologyError("\n".join(f"topology {path}: {line}" for line in wrong))
    try:
        order = start_order(modules, disabled=disabled)
    except ModuleError as failure:
        raise ModuleError(f"topology {path}: {failure}") from failure
    placed = {
        name: _process(name, table, file, [module.name for module in order])
        for name, table in file.processes.items()
    }
    return Topology(
        name=file.name or path.stem,
        processes=_in_order(placed, order),
        edges={_ends(arrow): Edge(**table.model_dump()) for arrow, table in file.edges.items()},
        disabled=disabled,
        events=file.events,
    )


def _disabled(file: _File, known: Sequence[str]) -> frozenset[str]:
    asked = file.enabled_modules
    if isinstance(asked, list):
        return frozenset(known) - frozenset(asked)
    return frozenset(name for name, on in asked.items() if not on)


def _process(name: str, table: _ProcessTable, file: _File, order: Sequence[str]) -> Process:
    """The process with its modules spelt out, in the order in which they start."""
    taken = {
        module for other, its in file.processes.items() if other != name for module in its.modules
    }
    rest = set(order) - taken if _EVERY_OTHER in table.modules else set()
    chosen = rest | set(table.modules)
    values = table.model_dump()
    values["front"] = len(file.processes) == 1 if table.front is None else table.front
    values["modules"] = tuple(module for module in order if module in chosen)
    return Process(name=name, **values)


def _in_order(placed: Mapping[str, Process], order: Sequence[Module]) -> dict[str, Process]:
    """Callees before callers; of processes that call each other, the one that the file names first."""
    home = {module: process.name for process in placed.values() for module in process.modules}
    provided = providers(order)
    calls: dict[str, set[str]] = {name: set() for name in placed}
    for module in order:
        for needed in module.needs(provided):
            calls[home[module.name]].add(home[needed])
    ordered: dict[str, Process] = {}
    by_front = sorted(placed, key=lambda name: placed[name].front)
    for name in by_front:
        _visit(name, calls, ordered, placed, frozenset())
    return ordered


def _visit(
    name: str,
    calls: Mapping[str, set[str]],
    ordered: dict[str, Process],
    placed: Mapping[str, Process],
    path: frozenset[str],
) -> None:
    if name in ordered or name in path:
        return
    for called in sorted(calls[name], key=list(placed).index):
        _visit(called, calls, ordered, placed, path | {name})
    ordered[name] = placed[name]


def _strangers(file: _File, known: Sequence[str]) -> Iterator[str]:
    """Names that no module has."""
    for name in file.enabled_modules:
        if name not in known:
            yield f"enabled_modules: there is no module {name}; there are {', '.join(known)}"
    for process, table in file.processes.items():
        for name in table.modules:
            if name != _EVERY_OTHER and name not in known:
                yield f"processes.{process}: there is no module {name}; there are {', '.join(known)}"
    for arrow in file.edges:
        caller, callee = _ends(arrow)
        if not callee:
            yield f'edges."{arrow}": write "caller {_ARROW} callee"'
            continue
        for name in (caller, callee):
            if name not in known:
                yield f'edges."{arrow}": there is no module {name}; there are {", ".join(known)}'


def _misplaced(file: _File, enabled: Sequence[str]) -> Iterator[str]:
    """Modules that run nowhere or twice, and processes that nobody could reach."""
    places = Counter(name for table in file.processes.values() for name in set(table.modules))
    yield from (
        f"{'modules *' if name == _EVERY_OTHER else f'module {name}'} is given to {count} processes:"
        f" {', '.join(_holders(file, name))}"
        for name, count in places.items()
        if count > 1
    )
    if _EVERY_OTHER not in places:
        for name in enabled:
            if name not in places:
                yield f'module {name} runs nowhere; add it to a process, or "*" for all the others'
    several = len(file.processes) > 1
    for process, table in file.processes.items():
        if not table.modules and not table.front:
            yield f"processes.{process}: has no modules and is no front"
    if several and not any(table.front for table in file.processes.values()):
        yield "no process is a front: no client could reach the application"


def _confused(file: _File) -> Iterator[str]:
    """Addresses and edges of which nobody could say whose they are."""
    places = Counter(table.address for table in file.processes.values() if table.address)
    for process, table in file.processes.items():
        if table.address and int(table.address.rpartition(":")[2]) > _MOST_PORT:
            yield f"processes.{process}.address: there is no port above {_MOST_PORT}"
        if places[table.address] > 1:
            yield f"processes.{process}.address: {table.address} is given to {places[table.address]} processes"
    arrows = Counter(map(_ends, file.edges))
    for (caller, callee), count in arrows.items():
        if count > 1:
            yield f'edges."{caller} {_ARROW} {callee}": is there {count} times'


def _holders(file: _File, name: str) -> Iterable[str]:
    return (process for process, table in file.processes.items() if name in table.modules)


def _ends(arrow: str) -> tuple[str, str]:
    caller, _, callee = (part.strip() for part in arrow.partition(_ARROW))
    return caller, callee
