"""``portico workflow``: the runs of workflows, looked at and put right in the database of the settings."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, cast
from uuid import UUID

import typer

from portico.cli.options import AppOption, ProcessOption, TopologyOption, at_rest
from portico.clock import SystemClock
from portico.errors import StatusError

if TYPE_CHECKING:
    from portico.storage import Storage
    from portico.workflow import Runs
    from portico.workflow.records import Record

commands = typer.Typer(no_args_is_help=True)

RunArgument = Annotated[UUID, typer.Argument(metavar="RUN", help="The id of a run.")]


@commands.callback()
def place(
    context: typer.Context,
    app: AppOption = None,
    topology: TopologyOption = None,
    process: ProcessOption = None,
) -> None:
    """Look after the runs of workflows, of all modules or of those of one process of a topology.

    On the database of the settings, whether anything serves or not; the same for admins over gRPC is
    portico.v1.WorkflowService, at any front.
    """
    context.obj = app, topology, process


@commands.command("list")
def list_runs(
    context: typer.Context,
    module: Annotated[str, typer.Option(help="Only those of this module.")] = "",
    name: Annotated[str, typer.Option(help="Only those of this workflow.")] = "",
    status: Annotated[
        str, typer.Option(help="Only those that are RUNNING, DONE, UNDONE or DEAD.")
    ] = "",
    older_than: Annotated[
        float, typer.Option(min=0, help="Only those that began so many seconds ago or earlier.")
    ] = 0,
    limit: Annotated[int, typer.Option(min=1, max=500, help="So many at the most.")] = 50,
    after: Annotated[
        UUID | None, typer.Option(help="The id at the end of the page before.")
    ] = None,
) -> None:
    """List runs, the youngest first."""
    with _runs(context) as runs:
        found = runs.page(
            module=module,
            name=name,
            status=_status(status),
            min_age_seconds=older_than,
            after=after,
            size=limit,
        )
    for record in found:
        print(_line(record))
    if not found:
        print("no runs")


@commands.command()
def inspect(
    context: typer.Context,
    run: RunArgument,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Also show texts, which may be personal data.")
    ] = False,
) -> None:
    """Print all about RUN as JSON. Texts in its states and errors are hidden."""
    from google.protobuf.json_format import MessageToDict

    from portico.workflow import wire  # which needs the database's driver

    with _runs(context) as runs:
        message = wire.details(runs.get(run), reveal=reveal)
    print(json.dumps(MessageToDict(message, preserving_proto_field_name=True), indent=2))


@commands.command()
def retry(
    context: typer.Context,
    run: RunArgument,
) -> None:
    """Have RUN tried again at once, also a dead one; a process that serves or a worker does it."""
    with _runs(context) as runs:
        print(_line(runs.retry(run)))


@commands.command()
def cancel(
    context: typer.Context,
    run: RunArgument,
) -> None:
    """Have RUN undone, if there is a way back; a process that serves or a worker does it."""
    with _runs(context) as runs:
        print(_line(runs.cancel(run)))


@commands.command()
def fork(
    context: typer.Context,
    run: RunArgument,
    key: Annotated[str, typer.Option(help="The key of the new run.")],
    step: Annotated[
        str, typer.Option("--from", help="The step to begin with, if not the first.")
    ] = "",
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="FIELD=JSON: a field of the state that shall be something else."
        ),
    ] = None,
) -> None:
    """Begin a new run with the state that RUN, which has ended, has left for a step."""
    changed = dict(_change(each) for each in changes or ())
    with _runs(context) as runs:
        print(_line(runs.fork(run, key=key, step=step, changes=changed)))


@contextmanager
def _runs(context: typer.Context) -> Iterator[Runs]:
    """Those in the database of the settings. Exits with 1 at a refusal."""
    with at_rest(context) as program:
        try:
            yield cast("Storage", program.storage).runs()
        except StatusError as refusal:
            print(f"portico: {refusal.reason}: {refusal.message}", file=sys.stderr)
            raise typer.Exit(1) from refusal


def _line(record: Record) -> str:
    run, age = record.run, SystemClock().now() - record.run.created_at
    where = f"{run.step}/{len(record.steps)}" if record.plan else f"{run.step}/?"
    told = [str(run.id), f"{run.status:7}", f"{run.name} v{run.version}", where]
    if record.next_step:
        told.append(f"next: {'undo of ' if run.is_undone else ''}{record.next_step}")
    if run.attempts:
        told.append(f"attempts: {run.attempts}")
    return "  ".join([*told, f"began {int(age.total_seconds())} s ago", run.subject]).rstrip()


def _status(name: str) -> Any:
    from portico.workflow.run import Status

    if name and name.upper() not in Status.__members__:
        raise typer.BadParameter(f"{name} is none of {', '.join(Status)}")
    return Status[name.upper()] if name else None


def _change(text: str) -> tuple[str, Any]:
    field, _, value = text.partition("=")
    try:
        return field, json.loads(value)
    except ValueError as failure:
        raise typer.BadParameter(f"{text} is not FIELD=JSON") from failure
