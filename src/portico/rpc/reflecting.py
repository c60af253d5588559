"""Server reflection: what services there are, told to tools such as ``buf curl``."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# The two versions differ in nothing but their name; tools ask for the newer one first.
NAMES = ("grpc.reflection.v1.ServerReflection", reflection.SERVICE_NAME)

_THREADS = 2


def add_reflection(server: grpc.Server, services: Sequence[str]) -> None:
    """Let ``server`` tell of ``services``.

    A tool keeps its stream open for as long as it likes, so these streams have threads of their own:
    they cannot take those that serve calls.
    """
    # The newer name is served and not listed: it has no descriptor here, and a tool asks for that of all listed.
    servicer = reflection.ReflectionServicer((*services, reflection.SERVICE_NAME))

    def tell(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        yield from servicer.ServerReflectionInfo(requests, context)

    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="portico-reflection")
    tell.experimental_thread_pool = pool  # type: ignore[attr-defined]  # grpcio looks for it here
    handler = grpc.stream_stream_rpc_method_handler(
        tell,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    methods = {"ServerReflectionInfo": handler}
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(name, methods) for name in NAMES]
    )
