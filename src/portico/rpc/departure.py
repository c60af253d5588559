"""Calls that leave the process: what goes along with them, and what forbids them to leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from portico.errors import StatusError, internal
from portico.rpc.access import outside_workflow
from portico.rpc.contract import is_kernels, is_query
from portico.rpc.origin import REQUEST_ID_KEY, TRACE_KEY
from portico.security.passport import PASSPORT_KEY
from portico.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from portico.context import Call
    from portico.rpc.metadata import Metadata
    from portico.security.passport import Passports


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who calls over a channel to another process.

    ``caller`` is the module, empty for the world outside, which gets no passport.
    ``commands_need_workflow`` is the policy's, for what can be refused before the network is touched.
    """

    caller: str = ""
    passports: Passports | None = None
    commands_need_workflow: bool = False


class Departure:
    """The way out for the calls of one method."""

    def __init__(self, path: str, sender: Sender) -> None:
        self._path = f"/{path.strip('/')}"
        self._service = self._path[1:].partition("/")[0]
        self._caller = sender.caller
        self._passports = sender.passports if sender.caller else None
        self._needs_step = (
            sender.commands_need_workflow
            and bool(sender.caller)
            and not is_kernels(path)
            and not is_query(path)
        )

    def check(self, parent: Call | None, *, in_step: bool) -> None:
        """Refuse a call, made inside ``parent``, that must not leave the process now.

        Raises INTERNAL, for these are mistakes in the calling code: CALL_INSIDE_TRANSACTION, and
        COMMAND_OUTSIDE_WORKFLOW as it comes in one process.
        """
        if parent is not None and parent.transaction is not None:
            raise self._refused(_inside_transaction(parent.module, self._service, self._path))
        if self._needs_step:
            step = parent.step if parent is not None and in_step else None
            if step is None or step.module != self._caller:
                raise self._refused(outside_workflow(self._path, self._caller))

    def metadata(
        self, parent: Call | None, own: Iterable[tuple[str, Any]] | None, *, in_step: bool
    ) -> Metadata | None:
        """What is sent with a call made inside ``parent``: request id, trace, passport, and the caller's ``own``.

        A passport among these is left behind: whoever hands on a client's headers vouches for none of them.
        """
        pairs: Metadata = ()
        if parent is not None:
            trace = tracing.TraceParent(parent.trace_id, tracing.new_span_id(), sampled=True)
            pairs = (REQUEST_ID_KEY, parent.request_id), (TRACE_KEY, str(trace))
        if self._passports is not None:
            passport = self._passports.issue(self._caller, parent, self._service, in_step=in_step)
            pairs = (*pairs, (PASSPORT_KEY, passport))
        if own:
            pairs = (*pairs, *(pair for pair in own if pair[0] != PASSPORT_KEY))
        return pairs or None

    def _refused(self, error: StatusError) -> StatusError:
        """The error as the callee's own pipeline would have passed it on."""
        return error.passed_on(domain=self._service.rpartition(".")[0], initial=(), trailing=())


def _inside_transaction(module: str, service: str, path: str) -> StatusError:
    return internal(
        "CALL_INSIDE_TRANSACTION",
        f"module {module} called {path} in another process while a transaction was open;"
        " its locks would be held for as long as the network takes",
        caller=module,
        service=service,
    )
