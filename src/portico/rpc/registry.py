"""The servicers of a process, by method path: what a local channel and a server both serve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from portico.rpc.contract import Method, describe
from portico.rpc.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import grpc

    from portico.rpc.interfaces import Handler


class Endpoint(NamedTuple):
    """One method, the handler and the servicer's function that implement it, and whose module it is."""

    method: Method
    handler: Handler
    behaviour: Callable[..., Any]
    module: str


class Registry:
    """Takes servicers from the generated ``add_…Servicer_to_server`` functions, as a ``grpc.Server`` does.

    ``threads`` are those of all local streams and futures to its servicers.
    """

    def __init__(self, *, threads: Threads | None = None) -> None:
        self.threads = threads or Threads()
        self._endpoints: dict[str, Endpoint] = {}
        self._services: dict[str, str] = {}

    def registrar(self, module: str) -> Registrar:
        """Where the servicers of ``module`` are added."""
        return Registrar(self, module)

    def add(self, service: str, handlers: Mapping[str, Handler], module: str) -> None:
        """Add a service's handlers by method name; a second registration of it is refused."""
        if service in self._services:
            raise ValueError(f"service {service} is registered twice")
        self._services[service] = module
        for name, handler in handlers.items():
            path = f"/{service}/{name}"
            behaviour = _behaviour(handler)
            if behaviour is None:
                raise TypeError(f"the servicer of {path} has no function for it")
            self._endpoints[path] = Endpoint(describe(path, handler), handler, behaviour, module)

    def refine(self, module: str, change: Callable[[Method], Method]) -> None:
        """Let ``change`` decide anew what holds for the methods of ``module``."""
        for path, endpoint in self._endpoints.items():
            if endpoint.module == module:
                self._endpoints[path] = endpoint._replace(method=change(endpoint.method))

    def find(self, path: str) -> Endpoint | None:
        """The endpoint at ``path``, or None."""
        return self._endpoints.get(path)

    @property
    def services(self) -> Mapping[str, str]:
        """Full service names, each with its module."""
        return self._services

    def __iter__(self) -> Iterator[Endpoint]:
        return iter(self._endpoints.values())


class Registrar:
    """The part of ``grpc.Server`` that generated code uses to add a servicer."""

    def __init__(self, registry: Registry, module: str) -> None:
        self._registry = registry
        self._module = module
        self._half_added: set[str] = set()

    def add_generic_rpc_handlers(
        self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]
    ) -> None:
        """Add services given as ``grpc.method_handlers_generic_handler`` makes them."""
        for generic in generic_rpc_handlers:
            handlers = getattr(generic, "_method_handlers", None)
            if handlers is None:
                raise TypeError(f"{generic!r} does not say which methods it handles")
            by_service: dict[str, dict[str, Handler]] = {}
            for path, handler in handlers.items():
                service, _, name = path.strip("/").partition("/")
                by_service.setdefault(service, {})[name] = handler
            for service, methods in by_service.items():
                self._registry.add(service, methods, self._module)
                self._half_added.add(service)

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, Handler]
    ) -> None:
        """Add a service; generated code does so once more after ``add_generic_rpc_handlers``."""
        if service_name in self._half_added:
            self._half_added.remove(service_name)
        else:
            self._registry.add(service_name, method_handlers, self._module)


def _behaviour(handler: Handler) -> Callable[..., Any] | None:
    """The function of whichever of the four kinds."""
    return (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )
