"""Where spans go, and that nobody waits for it."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from portico.context import root
from portico.lab import trace_tree
from portico.telemetry.export import open_tracer
from portico.telemetry.otel.tracer import Tracer


class Collector:
    """Takes OTLP over HTTP; while it is ``stuck`` it does not answer."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.paths: list[str] = []
        self.stuck = threading.Event()
        self.stuck.set()  # set: it answers
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.stuck.wait(30)
                collector.paths.append(self.path)
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.stuck.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


def opened(**options: Any) -> Tracer:
    tracer = open_tracer(application="shop", **options)
    assert tracer is not None
    return tracer


def make_spans(tracer: Tracer, number: int = 1) -> None:
    for _ in range(number):
        with tracer.reaction(root(module="orders"), {"a": 1}):
            pass


def test_without_a_destination_there_is_no_tracer() -> None:
    assert open_tracer(application="shop") is None
    assert open_tracer(application="shop", otlp_endpoint="") is None


@pytest.mark.parametrize("path", ["", "/", "/v1/traces"])
def test_a_collector_gets_spans_with_application_and_process(
    collector: Collector, path: str
) -> None:
    tracer = opened(process="orders", otlp_endpoint=collector.address + path)
    make_spans(tracer, 3)
    tracer.close()

    assert collector.paths == ["/v1/traces"]
    (resource,) = collector.requests[0].resource_spans
    facts = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert facts["service.name"] == "shop"
    assert facts["service.instance.id"] == "orders"
    assert len(resource.scope_spans[0].spans) == 3


def test_a_collector_that_does_not_answer_delays_no_call(collector: Collector) -> None:
    collector.stuck.clear()
    tracer = opened(otlp_endpoint=collector.address)
    make_spans(tracer, 20_000)  # more than are kept

    assert collector.requests == []  # it was stuck all the while
    collector.stuck.set()
    tracer.close()


def test_a_process_stops_though_its_collector_is_gone() -> None:
    tracer = opened(otlp_endpoint="http://127.0.0.1:1")
    make_spans(tracer)
    stopping = threading.Thread(target=tracer.close)
    stopping.start()
    stopping.join(30)

    assert not stopping.is_alive()


def test_a_folder_has_a_file_for_each_process(tmp_path: Path) -> None:
    folder = tmp_path / "traces"
    for process in ("orders", "payments"):
        tracer = opened(process=process, file=folder)
        make_spans(tracer)
        tracer.close()

    assert sorted(path.name for path in folder.iterdir()) == ["orders.jsonl", "payments.jsonl"]
    assert {span.process for span in trace_tree.read(folder)} == {"orders", "payments"}


def test_several_processes_append_to_one_file_that_only_their_user_reads(tmp_path: Path) -> None:
    file = tmp_path / "spans.jsonl"
    tracers = [opened(process=name, file=file) for name in ("one", "other")]
    for tracer in tracers:
        make_spans(tracer, 50)
    for tracer in tracers:
        tracer.close()

    spans = trace_tree.read(file)
    assert [span.process for span in spans].count("one") == 50
    assert [span.process for span in spans].count("other") == 50
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_that_cannot_be_written_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(OSError, match="taken"):
        open_tracer(application="shop", file=tmp_path / "taken" / "spans.jsonl")
