"""A channel straight into a servicer, with nothing in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import grpc

from portico.context import Call, entered
from portico.errors import StatusError
from portico.rpc.ended import Ended
from portico.rpc.inflight import LocalRpc
from portico.rpc.metadata import checked
from portico.rpc.outcome import ended_badly, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from portico.rpc.registry import Endpoint, Registry

    Opened = Callable[[str, str, Any], Call]


class ServicerChannel(grpc.Channel):
    """Calls a servicer's method as a function: what the servicer alone answers or raises.

    No authorisation, validation, copy or deadline, and no futures; a stream of responses is read to
    its end before the caller gets the first.
    ``opened(path, module, metadata)`` makes the call that the servicer sees as its context.
    """

    def __init__(self, registry: Registry, *, opened: Opened) -> None:
        self._registry = registry
        self._opened = opened

    def unary_unary(self, method: str, *_: Any, **__: Any) -> Any:
        """The servicer's unary method."""
        return _Direct(self._endpoint(method), self._opened)

    def unary_stream(self, method: str, *_: Any, **__: Any) -> Any:
        """The servicer's method that answers with a stream."""
        return _DirectStream(self._endpoint(method), self._opened)

    def stream_unary(self, method: str, *_: Any, **__: Any) -> Any:
        """The servicer's method that takes a stream."""
        return _Direct(self._endpoint(method), self._opened)

    def stream_stream(self, method: str, *_: Any, **__: Any) -> Any:
        """The servicer's method with a stream each way."""
        return _DirectStream(self._endpoint(method), self._opened)

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
    """A method with one response."""

    def __init__(self, endpoint: Endpoint, opened: Opened) -> None:
        self._endpoint = endpoint
        self._opened = opened

    def __call__(
        self, request: Any, timeout: float | None = None, metadata: Any = None, **_: Any
    ) -> Any:
        return self.with_call(request, timeout, metadata)[0]

    def with_call(
        self, request: Any, timeout: float | None = None, metadata: Any = None, **_: Any
    ) -> tuple[Any, LocalRpc]:
        call = self._call(metadata)
        responses: list[Any] = []
        error = _run(call, lambda: responses.append(self._endpoint.behaviour(request, call)))
        if error is not None:
            raise error
        return responses[0], LocalRpc(_Told(call, None, responses))

    def future(
        self, request: Any, timeout: float | None = None, metadata: Any = None, **_: Any
    ) -> Any:
        raise NotImplementedError("a servicer alone has no futures")

    def _call(self, metadata: Any) -> Call:
        method = self._endpoint.method
        return self._opened(method.path, self._endpoint.module, checked(metadata or ()))


class _DirectStream(_Direct):
    """A method with a stream of responses."""

    def __call__(
        self, request: Any, timeout: float | None = None, metadata: Any = None, **_: Any
    ) -> LocalRpc:
        call = self._call(metadata)
        responses: list[Any] = []

        def read() -> None:
            for response in self._endpoint.behaviour(request, call):
                if response is None or call.cancelled:
                    return
                call.no_more_headers()
                responses.append(response)

        return LocalRpc(_Told(call, _run(call, read), responses))


class _Told(Ended):
    """A call that is over, whose responses are still to be read."""

    def __init__(self, call: Call, error: StatusError | None, responses: Sequence[Any]) -> None:
        super().__init__(
            response=responses[0] if responses else None,
            error=error,
            headers=call.sent_headers(),
            trailers=call.trailing_metadata() or (),
        )
        self._unread = iter(responses)

    def take(self) -> Any:
        """The next response, then the call's end."""
        for response in self._unread:
            return response
        return super().take()


def _run(call: Call, act: Callable[[], None]) -> StatusError | None:
    """Let the servicer act; the error its caller gets, if any."""
    with entered(call):
        try:
            act()
            ended_badly(call)
        except KeyboardInterrupt:
            raise
        except BaseException as failure:  # noqa: BLE001  # as behind any channel
            return translated(call, failure)
        else:
            return None
        finally:
            call.finish()
