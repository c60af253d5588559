"""The services of a module that is turned off: each rpc answers UNIMPLEMENTED and says why."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from portico.errors import unimplemented
from portico.rpc.contract import Access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from portico.rpc.registry import Registry


def add_disabled(registry: Registry, module: str, adders: Iterable[Callable[..., Any]]) -> None:
    """Register what stands in for ``module``; ``adders`` are its generated ``add_…_to_server`` functions.

    Whoever asks gets the same answer, signed in or not, whatever the request says: the rpc is not there.
    """
    stand_in = _StandIn(module)
    registrar = registry.registrar(module)
    for add in adders:
        add(stand_in, registrar)
    registry.refine(
        module,
        lambda method: replace(
            method, access=Access.PUBLIC, roles=frozenset(), query=True, validated=False
        ),
    )


class _StandIn:
    """A servicer of any service, all of whose rpcs fail."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        def refuse(_request: Any, _context: Any) -> NoReturn:
            raise unimplemented(
                "MODULE_DISABLED",
                f"the module {self._module} is turned off here",
                module=self._module,
            )

        return refuse
