"""``portico lab``: measurements, to be rerun anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from portico.cli.options import JsonOption

commands = typer.Typer(no_args_is_help=True)


@commands.command()
def hop(json: JsonOption = None) -> None:
    """One call four ways: bare method, local share, local copy, loopback TCP."""
    from portico.lab import hop as laboratory

    laboratory.main(json)


@commands.command()
def throughput(json: JsonOption = None) -> None:
    """Calls per second of the whole server pipeline over a bare grpcio server's.

    The bare server runs on ThreadPoolExecutor, as grpcio's documentation has it; the kernel's on worker threads of
    its own, which hand a call over for less. What they save can be more than all the checks cost.
    """
    from portico.lab import throughput as laboratory

    laboratory.main(json)


@commands.command()
def overload(json: JsonOption = None) -> None:
    """A server that is asked four times what it can do: what it still answers, and how fast."""
    from portico.lab import overload as laboratory

    laboratory.main(json)


@commands.command()
def trace(
    first: Path,
    second: Annotated[Path | None, typer.Argument(help="Another, to put beside it.")] = None,
    trace_id: Annotated[str, typer.Option(help="Which trace; by default the last.")] = "",
    name: Annotated[str, typer.Option(help="The last trace that begins so.")] = "",
) -> None:
    """Print a trace out of span files (setting trace_file) as a tree; two, side by side, and whether they agree."""
    from portico.lab import trace as laboratory

    raise typer.Exit(laboratory.main(first, second, trace_id=trace_id, name=name))


@commands.command()
def chain(json: JsonOption = None) -> None:
    """A deadline of 300 ms over three processes: when the caller hears of it, and who still works after that."""
    from portico.lab import chain as laboratory

    laboratory.main(json)


@commands.command()
def outage(json: JsonOption = None) -> None:
    """A callee that is killed under load: how fast calls fail, how often it is tried, when it is back."""
    from portico.lab import outage as laboratory

    laboratory.main(json)


@commands.command("tracing")
def tracing_cost(json: JsonOption = None) -> None:
    """What telemetry costs a call: off, against code that has none, and on."""
    from portico.lab import tracing_cost as laboratory

    laboratory.main(json)


@commands.command()
def workflow(json: JsonOption = None) -> None:
    """A workflow with three foreign steps: as one transaction, as a saga over two processes, and what its log adds."""
    from portico.lab import workflow as laboratory

    laboratory.main(json)


@commands.command()
def recovery(
    json: JsonOption = None,
    runs: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="So many runs are abandoned.")
    ] = 10_000,
) -> None:
    """Workflow runs whose processes were killed half way, finished by two workers; fails when an effect is wrong."""
    from portico.lab import recovery as laboratory

    raise typer.Exit(laboratory.main(json, runs=runs))


@commands.command()
def events(
    json: JsonOption = None,
    count: Annotated[
        int, typer.Option("--events", min=8, max=10_000_000, help="So many are published.")
    ] = 100_000,
    transport: Annotated[
        Literal["rpc", "redis"],
        typer.Option(help="How they go from relays to consumers; for redis one is started."),
    ] = "rpc",
) -> None:
    """Events by writers who commit late, over relays and consumers that are killed; fails when an effect is wrong.

    Then how long an event takes at 500 a second.
    """
    from portico.lab import events as laboratory

    raise typer.Exit(laboratory.main(json, transport=transport, events=count))
