"""Modules put together: every servicer, reaction and demonstration resolved before anything is served."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import punq

from portico.module import ModuleError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import grpc

    from portico.module import Module
    from portico.rpc.registry import Registry


@dataclass(frozen=True, slots=True)
class Assembled:
    """One module, ready: its reactions, and its demonstration and advice, if it has any."""

    module: Module
    reactions: Sequence[object]
    demonstration: Any | None
    advice: Any | None


def assemble(
    module: Module, registry: Registry, channel: grpc.Channel, provided: Mapping[type, object]
) -> Assembled:
    """Build ``module`` over ``channel`` and add its servicers to ``registry``.

    ``provided`` are the kernel's objects, by the type a constructor asks for. Raises ModuleError
    that names the class whose constructor cannot be satisfied.
    """
    container = punq.Container()
    for kind, instance in provided.items():
        container.register(kind, instance=instance)
    for stub_class in (*module.requires, *module.optional):
        container.register(stub_class, instance=stub_class(channel))
    extras = [kind for kind in (module.demonstration, module.advice) if kind is not None]
    for kind in (*module.provides.values(), *module.reactions, *extras):
        container.register(kind)  # as it is, unless the module says otherwise
    module.wire(container)
    for add, servicer_class in module.provides.items():
        add(_resolve(module, container, servicer_class), registry.registrar(module.name))
    reactions = [_resolve(module, container, kind) for kind in module.reactions]
    found = {kind: _resolve(module, container, kind) for kind in extras}
    demonstration, advice = (
        None if kind is None else found[kind] for kind in (module.demonstration, module.advice)
    )
    return Assembled(module, reactions, demonstration, advice)


def _resolve(module: Module, container: punq.Container, kind: type) -> Any:
    try:
        return container.resolve(kind)
    except (
        punq.MissingDependencyError,
        punq.InvalidRegistrationError,
        TypeError,
        NameError,
    ) as failure:
        raise ModuleError(
            f"module {module.name}: {kind.__qualname__} cannot be built: {failure}"
        ) from failure
