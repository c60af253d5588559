"""A fault on purpose: what compares transports must find it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import grpc

    from portico.rpc.metadata import Metadata

KEY = "x-dropped-when-planted"
"""The trailer that is dropped."""


class Forgetful:
    """A channel that loses the trailer ``KEY`` of unary calls, and nothing else."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel: Any = channel

    def unary_unary(self, *method: Any, **options: Any) -> Any:
        """The callable for a unary rpc, whose ``with_call`` loses the trailer."""
        return _ForgetfulUnary(self._channel.unary_unary(*method, **options))

    def __enter__(self) -> Self:
        self._channel.__enter__()
        return self

    def __exit__(self, *failure: object) -> None:
        self._channel.__exit__(*failure)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


class _ForgetfulUnary:
    def __init__(self, unary: Any) -> None:
        self._unary = unary

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._unary(*arguments, **options)

    def with_call(self, *arguments: Any, **options: Any) -> tuple[Any, Any]:
        """The response, and a call that does not tell of the trailer."""
        response, call = self._unary.with_call(*arguments, **options)
        return response, _ForgetfulCall(call)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._unary, name)


class _ForgetfulCall:
    def __init__(self, call: Any) -> None:
        self._call = call

    def trailing_metadata(self) -> Metadata:
        """The trailers but one."""
        return tuple(pair for pair in self._call.trailing_metadata() if pair[0] != KEY)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)
