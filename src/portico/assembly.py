"""Modules put together: every servicer, reaction and demonstration resolved before anything is served."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import isclass, isfunction
from typing import TYPE_CHECKING, Any, get_type_hints

import punq

from portico.module import ModuleError
from portico.rpc.local import LocalChannel

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
    container, extras = _Container(), _extras(module)
    _fill(container, module, channel, provided)
    for add, servicer_class in module.provides.items():
        add(_resolve(module, container, servicer_class), registry.registrar(module.name))
    reactions = [_resolve(module, container, kind) for kind in module.reactions]
    found = {kind: _resolve(module, container, kind) for kind in extras}
    demonstration, advice = (
        None if kind is None else found[kind] for kind in (module.demonstration, module.advice)
    )
    return Assembled(module, reactions, demonstration, advice)


def assemble_askers(
    module: Module, channel: grpc.Channel, provided: Mapping[type, object], *, of: type
) -> None:
    """Build only those classes of ``module`` whose constructors ask for ``of`` themselves; for a look at them."""
    container = _Container()
    _fill(container, module, channel, provided)
    for kind, maker in container.makers.items():
        if _asks(maker, of):
            _resolve(module, container, kind)


def may_ask_for(module: Module, kind: type) -> bool:
    """Whether a class that ``module`` is put together from asks for ``kind`` in its constructor.

    Nothing is built. It may, where that cannot be told: when wiring takes what only its own process has, or
    makes something by a function that may hold the container.
    """
    container = _Container()
    try:
        _fill(container, module, LocalChannel(), {})
        makers = container.makers.values()
        return any(not _tells_all(maker) or _asks(maker, kind) for maker in makers)
    except Exception:  # noqa: BLE001  # the module's own code, at a place that it was not written for
        return True


class _Container(punq.Container):
    """Remembers what is made here, and by which class or function."""

    def __init__(self) -> None:
        super().__init__()
        self.makers: dict[Any, Any] = {}

    def register(self, service: Any, *more: Any, **named: Any) -> Any:
        if "instance" not in named:
            self.makers[service] = more[0] if more else named.get("factory", service)
        return super().register(service, *more, **named)


def _asks(maker: Any, kind: type) -> bool:
    made_by = maker if isfunction(maker) else maker.__init__
    return kind in get_type_hints(made_by).values()


def _tells_all(maker: Any) -> bool:
    """Whether it can ask for nothing but what its hints say: a closure may ask the container itself."""
    return isclass(maker) or (isfunction(maker) and maker.__closure__ is None)


def _extras(module: Module) -> list[type]:
    return [kind for kind in (module.demonstration, module.advice) if kind is not None]


def _fill(
    container: punq.Container,
    module: Module,
    channel: grpc.Channel,
    provided: Mapping[type, object],
) -> None:
    for kind, instance in provided.items():
        container.register(kind, instance=instance)
    for stub_class in (*module.requires, *module.optional):
        container.register(stub_class, instance=stub_class(channel))
    for kind in (*module.provides.values(), *module.reactions, *_extras(module)):
        container.register(kind)  # as it is, unless the module says otherwise
    module.wire(container)


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
