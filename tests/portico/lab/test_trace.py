"""Traces are compared by what a placement must not change; the cost of tracing can be measured again."""

from __future__ import annotations

import dis
import json
from itertools import count
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

from portico.lab import trace, trace_tree, tracing_cost
from portico.lab.hookless import hookless
from portico.rpc import local, pipeline

_ids = count(1)


def span(name: str, parent: str = "", *, start: int = 0, **changed: Any) -> dict[str, object]:
    return {
        "trace_id": "t" * 32,
        "span_id": f"{next(_ids):016x}",
        "parent_id": parent,
        "name": name,
        "kind": "INTERNAL",
        "status": "UNSET",
        "start_ns": start,
        "end_ns": start + 1_000_000,
        "process": "app",
        "attributes": {},
    } | changed


def written(path: Path, *spans: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in spans))
    return path


def order(*, second: str = "void", **changed: Any) -> list[dict[str, object]]:
    """A request with two calls below it, told in no order."""
    root = span("POST /orders", **changed)
    above = str(root["span_id"])
    first = span(
        "/commerce.orders.v1.Orders/Place", above, start=1, attributes={"rpc.system": "grpc"}
    )
    return [span(second, above, start=2, **changed), first, root]


def test_one_trace_is_printed_as_a_tree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trace.main(written(tmp_path / "a.jsonl", *order())) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split("internal")[0].rstrip() for line in lines[:3]] == [
        "POST /orders",
        "  Orders/Place",
        "  void",
    ]
    assert lines[3] == "3 spans in 1 process (app)"


def test_two_are_the_same_wherever_and_however_long_they_ran(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    apart = tmp_path / "apart"
    apart.mkdir()
    *below, top = order(process="edge", end_ns=77)
    written(apart / "edge.jsonl", top)
    written(apart / "core.jsonl", *below)
    together = written(tmp_path / "a.jsonl", *order())

    assert trace.main(together, apart) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == "the same tree"
    assert "≠" not in printed


@pytest.mark.parametrize(
    "planted",
    [
        order(second="charge"),
        order(status="ERROR"),
        order(kind="SERVER"),
        order()[1:],
        [*order(), span("a root of its own", start=5)],
    ],
    ids=["name", "status", "kind", "missing", "more"],
)
def test_a_difference_is_shown_in_its_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], planted: list[dict[str, object]]
) -> None:
    one, other = written(tmp_path / "a.jsonl", *order()), written(tmp_path / "b.jsonl", *planted)

    assert trace.main(one, other) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1].startswith("not the same tree: ")
    assert [line for line in printed if line.startswith("≠")]


def test_another_order_of_calls_is_a_difference_and_of_reactions_none(tmp_path: Path) -> None:
    def siblings(kind: str, *names: str) -> list[dict[str, object]]:
        root = span("top")
        above = str(root["span_id"])
        return [root, *(span(n, above, start=i, kind=kind) for i, n in enumerate(names, 1))]

    for kind, verdict in (("CLIENT", 1), ("CONSUMER", 0)):
        one = written(tmp_path / "a.jsonl", *siblings(kind, "a", "b"))
        other = written(tmp_path / "b.jsonl", *siblings(kind, "b", "a"))
        assert trace.main(one, other) == verdict


def test_a_trace_is_chosen_by_id_or_by_the_name_at_its_top(tmp_path: Path) -> None:
    spans = [
        span("GET /orders", trace_id="a" * 32, start=1),
        span("POST /orders", trace_id="b" * 32, start=2),
        span("POST /orders", trace_id="c" * 32, start=3),
    ]
    roots = trace_tree.trees(trace_tree.read(written(tmp_path / "a.jsonl", *spans)))

    assert trace_tree.chosen(roots, name="GET")[0].trace_id == "a" * 32
    assert trace_tree.chosen(roots, trace_id="bb")[0].trace_id == "b" * 32
    assert trace_tree.chosen(roots)[0].trace_id == "c" * 32
    with pytest.raises(LookupError, match="there is no trace DELETE"):
        trace_tree.chosen(roots, name="DELETE")


def test_what_holds_no_spans_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no spans"):
        trace_tree.read(tmp_path)
    for content in ("no json\n", '{"name": "a"}\n', "[]\n"):
        (tmp_path / "a.jsonl").write_text(content)
        with pytest.raises(ValueError, match=r"a\.jsonl:1 is no span"):
            trace_tree.read(tmp_path)


def test_a_trace_that_is_not_there_is_told_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spans = written(tmp_path / "a.jsonl", *order())

    assert trace.main(tmp_path / "none.jsonl") == 2
    assert trace.main(spans, name="DELETE") == 2
    assert trace.main(spans, tmp_path / "none.jsonl") == 2
    assert "portico: there is no trace DELETE" in capsys.readouterr().err


def names_in(code: CodeType) -> set[object]:
    """What its instructions name; ``co_names`` remembers what the compiler has left out."""
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    own = {each.argval for each in dis.get_instructions(code) if each.opname.startswith("LOAD")}
    return {*own, *(name for each in inner for name in names_in(each))}


@pytest.mark.parametrize(
    ("module", "function"),
    [(pipeline, "compile_call"), (local, "LocalChannel._compiled")],
)
def test_a_copy_without_hooks_has_none(module: object, function: str) -> None:
    def code_of(where: object) -> CodeType:
        for part in function.split("."):
            where = getattr(where, part)
        assert isinstance(where, FunctionType)
        return where.__code__

    copy = hookless(module)  # type: ignore[arg-type]
    assert "tracer" in names_in(code_of(module))
    assert "tracer" not in names_in(code_of(copy))


def test_the_cost_of_tracing_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing_cost, "ROUNDS", 2)
    tracing_cost.main(tmp_path / "cost.json")

    told = json.loads((tmp_path / "cost.json").read_text())
    ways = ["without hooks", "off", "sampled out", "recorded", "tcp off", "tcp recorded"]
    assert list(told["median_us"]) == ways
    assert all(microseconds > 0 for microseconds in told["median_us"].values())
    assert told["on_adds_us"]["recorded"] > 0
    printed = capsys.readouterr().out
    assert all(way in printed for way in ways)
    assert "telemetry off adds" in printed
