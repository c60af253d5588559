"""A channel straight into a servicer, with nothing in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import grpc

from portico.context import Call, entered
from portico.errors import StatusError
from portico.rpc.metadata import checked
from portico.rpc.outcome import ended_badly, translated

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.rpc.registry import Endpoint, Registry

    Opened = Callable[[str, str, Any], Call]


class ServicerChannel(grpc.Channel):
    """Calls a servicer's method as a function: what the servicer alone answers or raises.

    No authorisation, validation, copy or deadline; unary calls and response streams only.
    ``opened(path, module, metadata)`` makes the call that the servicer sees as its context.
    """

    def __init__(self, registry: Registry, *, opened: Opened) -> None:
        self._registry = registry
        self._opened = opened

    def unary_unary(self, method: str, *_: Any, **__: Any) -> Any:
        """The servicer's unary method."""
        return _Direct(self._endpoint(method), self._opened, _answer)

    def unary_stream(self, method: str, *_: Any, **__: Any) -> Any:
        """The servicer's method that answers with a stream."""
        return _Direct(self._endpoint(method), self._opened, _answers)

    def stream_unary(self, method: str, *_: Any, **__: Any) -> Any:
        """The servicer's method that takes a stream."""
        return _Direct(self._endpoint(method), self._opened, _answer)

    def stream_stream(self, method: str, *_: Any, **__: Any) -> Any:
        """The servicer's method with a stream each way."""
        return _Direct(self._endpoint(method), self._opened, _answers)

    def subscribe(self, callback: Any, try_to_connect: bool | None = False) -> None:
        """Nothing to connect to."""

    def unsubscribe(self, callback: Any) -> None:
        """Nothing to connect to."""

    def close(self) -> None:
        """Nothing to close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def _endpoint(self, path: str) -> Endpoint:
        endpoint = self._registry.find(path)
        if endpoint is None:
            raise StatusError(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        return endpoint


class _Direct(grpc.UnaryUnaryMultiCallable):
    def __init__(self, endpoint: Endpoint, opened: Opened, run: Callable[..., Any]) -> None:
        self._endpoint = endpoint
        self._opened = opened
        self._run = run

    def __call__(
        self, request: Any, timeout: float | None = None, metadata: Any = None, **_: Any
    ) -> Any:
        return self.with_call(request, timeout, metadata)[0]

    def with_call(
        self, request: Any, timeout: float | None = None, metadata: Any = None, **_: Any
    ) -> tuple[Any, Call]:
        endpoint = self._endpoint
        call = self._opened(endpoint.method.path, endpoint.module, checked(metadata or ()))
        return self._run(call, endpoint.behaviour, request), call

    def future(
        self, request: Any, timeout: float | None = None, metadata: Any = None, **_: Any
    ) -> Any:
        raise NotImplementedError("a servicer alone has no futures")


def _answer(call: Call, behaviour: Callable[..., Any], request: Any) -> Any:
    with entered(call):
        try:
            response = behaviour(request, call)
            ended_badly(call)
        except Exception as failure:  # noqa: BLE001  # as behind any channel
            error = translated(call, failure)
        else:
            return response
    raise error


def _answers(call: Call, behaviour: Callable[..., Any], request: Any) -> Any:
    return iter(_answer(call, lambda *sides: list(behaviour(*sides)), request))
