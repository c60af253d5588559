"""Requests over REST, and public calls that are handed on: where their spans are."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from commerce.catalog.v1 import catalog_service_pb2 as catalog_pb
from commerce.catalog.v1 import catalog_service_pb2_grpc as catalog_grpc
from commerce.catalog.v1 import product_pb2 as product_pb
from pydantic import SecretStr

from portico import Application, Module, Program, Settings, errors
from portico.lab import trace_tree
from portico.telemetry.tracing import TraceParent
from tests.journeys.shopper import request

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
PARENT = ("traceparent", str(TraceParent(TRACE, SPAN, sampled=True)))
SPLIT = """
[processes.edge]
front = true
[processes.core]
modules = ["catalog"]
"""


class Catalog(catalog_grpc.CatalogServiceServicer):
    def GetProduct(self, request: catalog_pb.GetProductRequest, context: Any) -> product_pb.Product:
        if request.product_id == "prd_none":
            raise errors.not_found("PRODUCT_NOT_FOUND", "there is no such product")
        return product_pb.Product()


APPLICATION = Application(
    name="shop",
    modules=[
        Module(
            name="catalog",
            owns_data=False,
            provides={catalog_grpc.add_CatalogServiceServicer_to_server: Catalog},
        )
    ],
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Placed:
    """The application in one process or in two, ``front`` being where clients come."""

    def __init__(self, folder: Path, programs: list[Program]) -> None:
        self.front = programs[-1]
        self._folder = folder
        self._programs = programs
        self._seen: set[str] = set()

    def traced(self, act: Callable[[Program], object]) -> list[list[trace_tree.Span]]:
        """The traces of what ``act`` does with the front."""
        act(self.front)
        time.sleep(0.05)  # the servicer's span may end after its answer has come
        for program in self._programs:
            assert program.policy.tracer is not None
            program.policy.tracer.flush()
        new = [span for span in trace_tree.read(self._folder) if span.span_id not in self._seen]
        self._seen |= {span.span_id for span in new}
        return list(trace_tree.trees(new).values())


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Placed]:
    folder = tmp_path_factory.mktemp("local")
    with APPLICATION.running(Settings(grpc_port=0, http_port=0, trace_file=folder)) as program:
        yield Placed(folder, [program])


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Placed]:
    folder = tmp_path_factory.mktemp("split")
    file = folder / "split.toml"
    file.write_text(SPLIT)
    settings: dict[str, Any] = {
        "grpc_port": 0,
        "http_port": 0,
        "trace_file": folder,
        "topology": file,
        "addresses": {name: f"127.0.0.1:{free_port()}" for name in ("edge", "core")},
        "hop_secret": SecretStr("a secret of sixteen characters or more"),
    }
    with (
        APPLICATION.running(Settings(**settings, process="core")) as core,
        APPLICATION.running(Settings(**settings, process="edge")) as edge,
    ):
        yield Placed(folder, [core, edge])


def get(path: str, *headers: tuple[str, str]) -> Any:
    return lambda front: request(front.http_address, "GET", path, headers=dict(headers))


def ask(*metadata: tuple[str, str]) -> Any:
    def act(front: Program) -> None:
        with grpc.insecure_channel(front.grpc_address) as channel:
            stub = catalog_grpc.CatalogServiceStub(channel)
            stub.GetProduct(catalog_pb.GetProductRequest(product_id="prd_a"), metadata=metadata)

    return act


def shapes(traces: list[list[trace_tree.Span]]) -> list[trace_tree.Shape]:
    return [shape for trace in traces for shape, _ in trace_tree.flat(trace)]


@pytest.mark.parametrize(
    ("path", "status", "outcome"),
    [("/api/v1/products/prd_a", 200, "UNSET"), ("/api/v1/products/prd_none", 404, "ERROR")],
)
def test_a_request_is_the_same_tree_in_every_placement(
    local: Placed, split: Placed, path: str, status: int, outcome: str
) -> None:
    together, apart = (each.traced(get(path)) for each in (local, split))

    assert shapes(together) == shapes(apart)
    assert [(shape.depth, shape.kind, shape.status) for shape in shapes(together)] == [
        (0, "SERVER", "UNSET"),
        (1, "CLIENT", outcome),
        (2, "SERVER", "UNSET"),
    ]
    for trace in (together, apart):
        assert trace[0][0].attributes["http.response.status_code"] == status
        assert trace[0][0].attributes["http.route"] == "/api/v1/products/{product_id}"
        assert trace[0][0].name == "GET /api/v1/products/{product_id}"
    assert {span.process for _, span in trace_tree.flat(apart[0])} == {"edge", "core"}


def test_a_request_goes_on_with_its_clients_trace(local: Placed, split: Placed) -> None:
    for placed in (local, split):
        (trace,) = placed.traced(get("/api/v1/products/prd_a", PARENT))
        assert (trace[0].trace_id, trace[0].parent_id) == (TRACE, SPAN)


def test_probes_and_paths_that_lead_nowhere_have_no_spans(local: Placed) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/nowhere"):
        assert local.traced(get(path)) == []


@pytest.mark.parametrize("metadata", [(), (PARENT,)])
def test_a_call_that_is_handed_on_is_one_span_as_without_a_front(
    local: Placed, split: Placed, metadata: tuple[tuple[str, str], ...]
) -> None:
    together, apart = (each.traced(ask(*metadata)) for each in (local, split))

    assert shapes(together) == shapes(apart)
    for (span,) in (*together, *apart):
        assert (span.kind, span.parent_id) == ("SERVER", SPAN if metadata else "")
