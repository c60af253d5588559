"""grpcio's interfaces as a type checker wants them: its stubs are generic where its classes are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

Serializer: TypeAlias = Callable[[Any], bytes] | None
Deserializer: TypeAlias = Callable[[bytes], Any] | None

if TYPE_CHECKING:
    from grpc import _CallFuture, _CallIterator

    Handler: TypeAlias = grpc.RpcMethodHandler[Any, Any]
    UnaryUnary: TypeAlias = grpc.UnaryUnaryMultiCallable[Any, Any]
    UnaryStream: TypeAlias = grpc.UnaryStreamMultiCallable[Any, Any]
    StreamUnary: TypeAlias = grpc.StreamUnaryMultiCallable[Any, Any]
    StreamStream: TypeAlias = grpc.StreamStreamMultiCallable[Any, Any]

    class Rpc(_CallFuture[Any], _CallIterator[Any]):
        """A call as its caller holds it: of whichever kind, a ``grpc.Call`` and a ``grpc.Future``."""

        def time_remaining(self) -> float | None: ...

    class RpcFailure(grpc.RpcError, _CallFuture[Any]):
        """A call that failed, as an exception and as a call that is over."""

        def code(self) -> grpc.StatusCode: ...
        def details(self) -> str: ...
        def trailing_metadata(self) -> Any: ...
        def time_remaining(self) -> float | None: ...

else:
    Handler = grpc.RpcMethodHandler
    UnaryUnary = grpc.UnaryUnaryMultiCallable
    UnaryStream = grpc.UnaryStreamMultiCallable
    StreamUnary = grpc.StreamUnaryMultiCallable
    StreamStream = grpc.StreamStreamMultiCallable

    class Rpc(grpc.Call, grpc.Future):
        """A call as its caller holds it: of whichever kind, a ``grpc.Call`` and a ``grpc.Future``."""

    class RpcFailure(grpc.RpcError, grpc.Call, grpc.Future):
        """A call that failed, as an exception and as a call that is over."""
