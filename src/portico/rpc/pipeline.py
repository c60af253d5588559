"""What happens to every call between its channel and its servicer, compiled once per method.

The order: deadline, identity, authorisation, validation, the servicer in an empty ``contextvars.Context``,
deadline again, error translation, metrics, log. A local call and a call from the network go through
the same function; only the channel around it differs.
"""

from __future__ import annotations

from contextvars import Context
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc

from portico.context import entered, here
from portico.errors import StatusError
from portico.rpc.access import compile_access, compile_authentication, require_sign_in
from portico.rpc.contract import descriptor_of
from portico.rpc.idempotency import named_by_key, takes_key
from portico.rpc.outcome import ended_badly, log_outcome, translated
from portico.rpc.transfer import Conformity, compile_conformity
from portico.rpc.validation import Validation, compile_validation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portico.context import Call
    from portico.rpc.contract import Method
    from portico.rpc.policy import Follow, Policy, Transport
    from portico.rpc.registry import Endpoint

_OK = grpc.StatusCode.OK
_NO_RULES = Validation(lambda _: True, lambda _: None)


def compile_call(
    endpoint: Endpoint,
    policy: Policy,
    *,
    caller: str,
    transport: Transport,
    refuse: Callable[[Call], None] | None = None,
) -> Callable[[Call, Any], Any]:
    """The whole path of a call: ``invoke(call, request)`` returns the response or raises ``StatusError``.

    For a streaming request ``request`` is an iterator; for a streaming response a generator is
    returned, and errors come out of iterating it. ``refuse`` raises why no call may go on, in place
    of the contract's rule.
    """
    method, behaviour = endpoint.method, endpoint.behaviour
    validation = _validation(method)
    if method.client_streaming:
        behaviour, validation = _with_checked_requests(behaviour, validation), _NO_RULES
    if policy.tracer is not None:
        behaviour = policy.tracer.inside(behaviour)
    parts = _Parts(
        behaviour,
        compile_authentication(endpoint, policy),
        refuse or compile_access(endpoint, policy, caller=caller),
        named_by_key if not caller and _takes_key(method) else None,
        validation,
        compile_conformity(method.response_class),
        _observe(endpoint, policy, caller, transport),
        policy.log_calls,
    )
    if method.server_streaming:
        return _streaming(parts)
    if method.await_reactions_seconds and policy.follow is not None and not caller:
        return _awaiting_reactions(_single(parts), policy.follow, method.await_reactions_seconds)
    return _single(parts)


def _awaiting_reactions(
    invoke: Callable[[Call, Any], Any], follow: Follow, seconds: float
) -> Callable[[Call, Any], Any]:
    """Answer when the reactions to what the call published have run, or after ``seconds``."""

    def awaited(call: Call, request: Any) -> Any:
        with follow(call.request_id) as wait:
            response = invoke(call, request)
            left = call.time_remaining()
            wait(seconds if left is None else min(seconds, left))
        return response

    return awaited


def _takes_key(method: Method) -> bool:
    return (
        not (method.query or method.client_streaming)
        and method.request_class is not None
        and takes_key(descriptor_of(method.request_class))
    )


def _validation(method: Method) -> Validation:
    if method.request_class is None or not method.validated:
        return _NO_RULES
    return compile_validation(method.request_class) or _NO_RULES


class _Parts(NamedTuple):
    behaviour: Callable[..., Any]
    identify: Callable[[Call], None]
    admit: Callable[[Call], None] | None
    name: Callable[[Any, Call], Any] | None
    validation: Validation
    conformity: Conformity
    observe: Callable[[int, float], None]
    log_calls: bool


def _single(parts: _Parts) -> Callable[[Call, Any], Any]:
    behaviour, identify, admit, name, validation, conformity, observe, log_calls = parts
    is_surely_valid, check = validation
    accepted, convert = conformity
    by_sign_in = admit is require_sign_in

    def invoke(call: Call, request: Any) -> Any:
        started = monotonic()
        deadline = call.deadline
        try:
            if deadline is not None and started >= deadline:
                raise _too_late()
            if call.unusual and call.unverified:
                identify(call)
            if admit is not None and not (by_sign_in and call.origin.identity.subject):
                admit(call)
            if name is not None:
                request = name(request, call)
            if not is_surely_valid(request):
                check(request)
            line = call.line  # what follows is ``_run``, without a frame of its own
            above, line.innermost = line.innermost, call
            if above is None:
                outer, here.line = here.line, line
            try:
                response = Context().run(behaviour, request, call)
            finally:
                line.innermost = above
                if above is None:
                    here.line = outer
            ended = monotonic()
            if call.unusual:
                ended_badly(call)
            if deadline is not None and ended >= deadline:
                raise _too_late()
            if type(response) is not accepted:
                response = convert(response)
        except KeyboardInterrupt:
            call.finish()
            raise
        except BaseException as failure:  # noqa: BLE001  # whatever a servicer raises becomes a status
            error = _failed(parts, call, failure, started)
        else:
            call.over = True
            if call.unusual:
                call.finish()
            observe(0, ended - started)
            if log_calls:
                log_outcome(call, _OK, ended - started)
            return response
        raise error  # out here, where the servicer's own exception is not its context

    return invoke


def _streaming(parts: _Parts) -> Callable[[Call, Any], Iterator[Any]]:
    def invoke(call: Call, request: Any) -> Iterator[Any]:
        started = monotonic()
        try:
            _check_time(call)
            if call.unverified:
                parts.identify(call)
            if parts.admit is not None:
                parts.admit(call)
            if parts.name is not None:
                request = parts.name(request, call)
            if not parts.validation.is_surely_valid(request):
                parts.validation.check(request)
            yield from _responses(parts, call, request)
            ended_badly(call)
            _check_time(call)
        except GeneratorExit:  # the caller stopped reading
            _ended(parts, call, grpc.StatusCode.CANCELLED, started)
            raise
        except BaseException as failure:  # noqa: BLE001  # whatever a servicer raises becomes a status
            error = _failed(parts, call, failure, started)
        else:
            _ended(parts, call, _OK, started)
            return
        raise error

    return invoke


def _responses(parts: _Parts, call: Call, request: Any) -> Iterator[Any]:
    """The servicer's responses; its generator runs in one context from first to last."""
    context = Context()
    responses = iter(_run(context, call, parts.behaviour, request, call))
    try:
        # A None ends the stream, as in grpcio.
        while (response := _run(context, call, next, responses, None)) is not None:
            if call.cancelled:
                return
            call.no_more_headers()
            if type(response) is not parts.conformity.accepted:
                response = parts.conformity.convert(response)
            yield response
    finally:
        close = getattr(responses, "close", None)
        if close is not None:
            _run(context, call, close)


def _run(context: Context, call: Call, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call ``function`` in ``context`` with ``call`` as the thread's current one."""
    with entered(call):
        return context.run(function, *arguments)


def _with_checked_requests(
    behaviour: Callable[..., Any], validation: Validation
) -> Callable[..., Any]:
    """Each message of a streaming request is validated as the servicer takes it."""
    if validation is _NO_RULES:
        return behaviour

    def checked(requests: Iterator[Any]) -> Iterator[Any]:
        for request in requests:
            if not validation.is_surely_valid(request):
                validation.check(request)
            yield request

    return lambda requests, call: behaviour(checked(requests), call)


def _observe(
    endpoint: Endpoint, policy: Policy, caller: str, transport: Transport
) -> Callable[[int, float], None]:
    if policy.observers is None:
        return lambda _code, _seconds: None
    return policy.observers.method(
        module=endpoint.module, method=endpoint.method.path, caller=caller, transport=transport
    ).observe


def _failed(parts: _Parts, call: Call, failure: BaseException, started: float) -> StatusError:
    error = translated(call, failure)
    _ended(parts, call, error.code(), started, error)
    return error


def _ended(
    parts: _Parts,
    call: Call,
    code: grpc.StatusCode,
    started: float,
    error: StatusError | None = None,
) -> None:
    seconds = monotonic() - started
    call.finish()
    parts.observe(code.value[0], seconds)
    if parts.log_calls or error is not None:
        log_outcome(call, code, seconds, error)


def _check_time(call: Call) -> None:
    if call.deadline is not None and monotonic() >= call.deadline:
        raise _too_late()


def _too_late() -> StatusError:
    return StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
