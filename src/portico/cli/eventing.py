"""``portico events``: those that have not arrived, delivering some again, removing old ones."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, cast
from uuid import UUID

import typer

from portico.cli.options import AppOption, ProcessOption, TopologyOption, at_rest

if TYPE_CHECKING:
    from portico.events import Relay
    from portico.events.ended import Selection
    from portico.events.undelivered import Undelivered

commands = typer.Typer(no_args_is_help=True)

IdOption = Annotated[list[UUID] | None, typer.Option("--id", help="These events; several times.")]
TypeOption = Annotated[
    str, typer.Option("--type", help="Only of this type, such as commerce.orders.v1.OrderPaid.")
]
SinceOption = Annotated[
    datetime | None, typer.Option("--since", help="Only what happened then or later, UTC.")
]
UntilOption = Annotated[
    datetime | None, typer.Option("--until", help="Only what happened before then, UTC.")
]


@commands.callback()
def place(
    context: typer.Context,
    app: AppOption = None,
    topology: TopologyOption = None,
    process: ProcessOption = None,
) -> None:
    """Look after the events of all modules, or of those of one process of a topology."""
    context.obj = app, topology, process


@commands.command("list")
def list_events(
    context: typer.Context,
    dead: Annotated[bool, typer.Option("--dead", help="Only those that were given up.")] = False,
    ids: IdOption = None,
    event_type: TypeOption = "",
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Of each module.")] = 50,
) -> None:
    """List events that have not reached everybody, the oldest first: one line for each receiver that is left.

    Of each module so many as --limit says; the last line says where there may be more. An event is waiting, retrying
    after an attempt that failed, or dead: given up after the last one.
    """
    chosen = _selection(ids, event_type, since, until)
    with _relay(context) as relay:
        found = relay.desk().undelivered(chosen, dead=dead, most=limit)
    for each in found:
        print(_line(each))
    for module, count in Counter(each.aggregate_type for each in found).items():
        if count == limit:
            print(f"there may be more of {module} than these {limit}: --limit")
    if not found:
        print("no dead events" if dead else "no undelivered events")


@commands.command()
def replay(
    context: typer.Context,
    consumer: Annotated[
        str,
        typer.Option(help="Deliver to module.Class.method alone, here and now, also what it had."),
    ] = "",
    ids: IdOption = None,
    event_type: TypeOption = "",
    since: SinceOption = None,
    until: UntilOption = None,
) -> None:
    """Have dead events delivered again by the relays; or, with --consumer, any that have ended.

    Say which: at least one of --id, --type, --since, --until.
    """
    from portico.events.desk import ReplayError  # which needs the database's driver

    chosen = _selection(ids, event_type, since, until)
    if not any(chosen):
        raise typer.BadParameter("which? --id, --type, --since or --until")
    with _relay(context) as relay:
        try:
            if consumer:
                _replay(relay, chosen, consumer)
            else:
                count = relay.desk().revive(chosen)
                print(f"{count} to be delivered again" if count else "none of these is dead")
        except ReplayError as refusal:
            print(f"portico: {refusal}", file=sys.stderr)
            raise typer.Exit(1) from refusal


@commands.command()
def purge(
    context: typer.Context,
    older_than: Annotated[
        float, typer.Option(min=0, help="Days since an event had reached everybody.")
    ],
    archive: Annotated[
        Path | None, typer.Option(help="Append them to this file first, as JSON, one a line.")
    ] = None,
) -> None:
    """Remove events that have reached everybody; relays do it by themselves after seven days.

    What a module has yet to get, or never got, stays; and so do the notes in inboxes.
    """
    total = 0
    with _relay(context) as relay, _appended(archive) as file:
        while True:
            count, _ = relay.housekeeping.purge(
                events_after=timedelta(days=older_than), notes_after=None, archive=file
            )
            total += count
            if not count:
                break
    print(f"{total} removed")


def _replay(relay: Relay, chosen: Selection, consumer: str) -> None:
    done = failed = 0
    for each in relay.desk().replay(chosen, consumer=consumer):
        done += each.failure is None
        failed += each.failure is not None
        if each.failure is not None:
            print(f"{each.record.id}  {each.failure}", file=sys.stderr)
    print(f"{done} delivered again, {failed} failed")
    if failed:
        raise typer.Exit(1)


@contextmanager
def _relay(context: typer.Context) -> Iterator[Relay]:
    """That of the settings' database, which delivers nothing by itself."""
    with at_rest(context) as program:
        yield cast("Relay", program.relay)  # whoever has data has one


def _appended(archive: Path | None) -> AbstractContextManager[IO[str] | None]:
    if archive is None:
        return nullcontext()
    try:
        return archive.open("a", encoding="utf-8")
    except OSError as failure:
        raise typer.BadParameter(f"--archive {archive}: {failure.strerror}") from failure


def _selection(
    ids: list[UUID] | None, event_type: str, since: datetime | None, until: datetime | None
) -> Selection:
    from portico.events.ended import Selection  # which needs the database's driver

    return Selection(tuple(ids or ()), event_type, _utc(since), _utc(until))


def _utc(at: datetime | None) -> datetime | None:
    return None if at is None else at.replace(tzinfo=UTC)


def _line(event: Undelivered) -> str:
    whom = f" for {event.module}" if event.module else ""
    told = [
        str(event.id),
        f"{event.state:8}",
        f"{event.occurred_at:%Y-%m-%dT%H:%M:%SZ}",
        f"{event.type} of {event.aggregate_id}{whom}",
    ]
    if event.attempts:
        told.append(f"attempts: {event.attempts}")
    if event.next_attempt_at is not None and event.dead_at is None:
        told.append(f"next at {event.next_attempt_at:%Y-%m-%dT%H:%M:%SZ}")
    return "  ".join([*told, event.error]).rstrip()
