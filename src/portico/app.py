"""An application: its modules and the rules they share."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from portico.module import Module, start_order
from portico.program import Program
from portico.rpc.contract import Access
from portico.settings import Settings
from portico.topology import Topology, TopologyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import grpc

    from portico.clock import Clock
    from portico.context import Identity

    Authenticate = Callable[[str], Identity]


@dataclass(frozen=True, kw_only=True)
class Application:
    """What is declared once and runs in any placement; nothing starts until ``running``.

    ``authenticator`` makes, from a channel to the application's own services, the function that
    turns an ``authorization`` header into an identity. ``default_access`` holds for an rpc whose
    contract does not say who may call. ``migrations`` has one folder per module that owns data,
    ``topologies`` the files that come with the application, ``NAME.toml``.
    ``welcome`` is printed when the demonstration is served; ``{rest}`` and ``{grpc}`` stand for the
    addresses.
    """

    name: str
    modules: Sequence[Module]
    migrations: Path = Path("migrations")
    topologies: Path = Path("topologies")
    authenticator: Callable[[grpc.Channel, Settings, Clock], Authenticate] | None = None
    default_access: Access = Access.PUBLIC
    welcome: str = ""

    def in_order(self) -> list[Module]:
        """The modules, each after those it requires; ModuleError when they do not fit together."""
        return start_order(self.modules)

    def topology_file(self, name: Path) -> Path:
        """The file at ``name``, or the one of that name that comes with the application.

        Raises TopologyError that lists those there are.
        """
        if name.is_file():
            return name
        shipped = self.topologies / f"{name}.toml"
        if shipped.is_file():
            return shipped
        known = sorted(path.stem for path in self.topologies.glob("*.toml"))
        raise TopologyError(
            f"there is no topology {name}: no such file, and {self.name} comes with"
            f" {', '.join(known) or 'none'}"
        )

    def topology(self, name: Path | None) -> Topology:
        """The topology called so, as for ``topology_file``; without a name, one process with all modules."""
        if name is None:
            return Topology.monolith(self.modules)
        return Topology.load(self.topology_file(name), self.modules)

    def settings_class(self) -> type[Settings]:
        """The kernel's settings with a section for each module that has any."""
        sections = {module.name: module.settings for module in self.modules if module.settings}
        return Settings.for_modules(sections)

    @contextmanager
    def running(
        self, settings: Settings | None = None, *, clock: Clock | None = None
    ) -> Iterator[Program]:
        """The application started in this process, and stopped after the block.

        Without ``settings`` they are read from the file and the environment.
        """
        chosen = self.settings_class().load() if settings is None else settings
        program = Program(self, chosen, clock=clock)
        program.start()
        try:
            yield program
        finally:
            program.stop()
