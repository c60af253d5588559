"""What an application decides for every call of its process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from portico.rpc.contract import Access

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from portico.context import Identity
    from portico.telemetry.otel.tracer import Tracer


Follow: TypeAlias = "Callable[[str], AbstractContextManager[Callable[[float], bool]]]"

FOREVER_SECONDS = 1e8
"""A longer timeout is none: grpcio tells "no deadline" as one that is centuries away."""

Transport: TypeAlias = Literal["local", "remote"]


class Observer(Protocol):
    """Where the outcomes of one method's calls are counted."""

    def observe(self, code: int, seconds: float) -> None:
        """Count a call that ended with gRPC status number ``code`` after ``seconds``."""


class Observers(Protocol):
    """Where an observer comes from, once per method and caller."""

    def method(self, *, module: str, method: str, caller: str, transport: Transport) -> Observer:
        """The observer of ``caller``'s calls of ``method`` over ``transport`` (local or remote)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The rules of a process.

    ``authenticate`` turns the value of an ``authorization`` header into an identity or raises
    UNAUTHENTICATED; without it nobody is ever signed in. ``default_access`` and
    ``default_timeout_seconds`` hold where contract and caller say nothing.
    ``commands_need_workflow``: a module may call another's command only inside a workflow step.
    ``follow(request_id)`` opens a block in which the reactions to that request's events can be waited for.
    ``log_calls``: also those that end well get a line in the log.
    ``tracer`` makes spans; without it nothing of them is compiled in.
    """

    authenticate: Callable[[str], Identity] | None = None
    default_access: Access = Access.PUBLIC
    default_timeout_seconds: float | None = None
    commands_need_workflow: bool = False
    observers: Observers | None = None
    follow: Follow | None = None
    log_calls: bool = False
    tracer: Tracer | None = None
