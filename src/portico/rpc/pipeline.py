"""What happens to every call between its channel and its servicer, compiled once per method.

The order: authorisation, validation, deadline, the servicer in an empty ``contextvars.Context``,
deadline again, error translation, metrics, log. A local call and a call from the network go through
the same function; only the channel around it differs.
"""

from __future__ import annotations

from contextvars import Context
from time import monotonic
from typing import TYPE_CHECKING, Any

import grpc

from portico import errors
from portico.context import serve
from portico.rpc.access import compile_access
from portico.rpc.outcome import ended_badly, log_outcome, translated
from portico.rpc.validation import compile_validation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portico.context import Call
    from portico.rpc.policy import Policy
    from portico.rpc.registry import Endpoint

_OK = grpc.StatusCode.OK


def compile_call(
    endpoint: Endpoint, policy: Policy, *, caller: str, transport: str
) -> Callable[[Call, Any], Any]:
    """The whole path of a call: ``invoke(call, request)`` returns the response or raises ``StatusError``.

    For a streaming request ``request`` is an iterator; for a streaming response an iterator is
    returned, and errors come out of iterating it.
    """
    method = endpoint.method
    admit = compile_access(endpoint, policy, caller=caller)
    validate = None
    observe = _observer(endpoint, policy, caller, transport)
    behaviour = endpoint.behaviour
    if method.client_streaming:
        behaviour = _with_checked_requests(endpoint, behaviour)
    elif method.request_class is not None:
        validate = compile_validation(method.request_class)
    compile_kind = _streaming if method.server_streaming else _single
    return compile_kind(behaviour, method.response_class, admit, validate, observe, policy.log_calls)


def _single(
    behaviour: Callable[..., Any],
    response_class: type | None,
    admit: Callable[[Call], None] | None,
    validate: Callable[[Any], None] | None,
    observe: Callable[[int, float], None] | None,
    log_calls: bool,
) -> Callable[[Call, Any], Any]:
    def invoke(call: Call, request: Any) -> Any:
        started = monotonic()
        try:
            deadline = call.deadline
            if deadline is not None and started >= deadline:
                raise _too_late()
            if admit is not None:
                admit(call)
            if validate is not None:
                validate(request)
            response = Context().run(serve, call, behaviour, request)
            ended = monotonic()
            if call._code is not None or call._cancelled:  # noqa: SLF001  # the hot path's one look
                ended_badly(call)
            if deadline is not None and ended >= deadline:
                raise _too_late()
            if response_class is not None and type(response) is not response_class:
                raise _wrong_response(response_class, response)
        except Exception as failure:  # noqa: BLE001  # everything a servicer raises becomes a status
            error = _failed(call, failure, observe, started)
        else:
            call._over = True  # noqa: SLF001  # ``finish``, without a frame when nobody listens
            if call._callbacks is not None:  # noqa: SLF001
                call.finish()
            if observe is not None:
                observe(0, ended - started)
            if log_calls:
                log_outcome(call, _OK, ended - started)
            return response
        raise error  # out here, where the servicer's own exception is not its context

    return invoke


def _streaming(
    behaviour: Callable[..., Any],
    response_class: type | None,
    admit: Callable[[Call], None] | None,
    validate: Callable[[Any], None] | None,
    observe: Callable[[int, float], None] | None,
    log_calls: bool,
) -> Callable[[Call, Any], Iterator[Any]]:
    def invoke(call: Call, request: Any) -> Iterator[Any]:
        started = monotonic()
        context = Context()
        try:
            if call.deadline is not None and started >= call.deadline:
                raise _too_late()
            if admit is not None:
                admit(call)
            if validate is not None:
                validate(request)
            responses = iter(context.run(serve, call, behaviour, request))
            try:
                for response in _in_context(context, responses):
                    if response_class is not None and type(response) is not response_class:
                        raise _wrong_response(response_class, response)
                    yield response
            finally:
                close = getattr(responses, "close", None)
                if close is not None:
                    context.run(close)
            ended_badly(call)
            if call.deadline is not None and monotonic() >= call.deadline:
                raise _too_late()
        except GeneratorExit:  # the caller stopped reading
            _abandoned(call, observe, started)
            raise
        except Exception as failure:  # noqa: BLE001  # everything a servicer raises becomes a status
            error = _failed(call, failure, observe, started)
        else:
            call.finish()
            if observe is not None:
                observe(0, monotonic() - started)
            if log_calls:
                log_outcome(call, _OK, monotonic() - started)
            return
        raise error

    return invoke


def _in_context(context: Context, responses: Iterator[Any]) -> Iterator[Any]:
    while True:
        try:
            response = context.run(next, responses)
        except StopIteration:
            return
        yield response


def _with_checked_requests(
    endpoint: Endpoint, behaviour: Callable[..., Any]
) -> Callable[..., Any]:
    """Each message of a streaming request is validated as the servicer takes it."""
    request_class = endpoint.method.request_class
    validate = None if request_class is None else compile_validation(request_class)
    if validate is None:
        return behaviour

    def checked(requests: Iterator[Any]) -> Iterator[Any]:
        for request in requests:
            validate(request)
            yield request

    return lambda requests, call: behaviour(checked(requests), call)


def _observer(
    endpoint: Endpoint, policy: Policy, caller: str, transport: str
) -> Callable[[int, float], None] | None:
    if policy.observers is None:
        return None
    return policy.observers.method(
        module=endpoint.module, method=endpoint.method.path, caller=caller, transport=transport
    ).observe


def _failed(
    call: Call,
    failure: Exception,
    observe: Callable[[int, float], None] | None,
    started: float,
) -> errors.StatusError:
    error = translated(call, failure)
    seconds = monotonic() - started
    call.finish()
    if observe is not None:
        observe(error.code().value[0], seconds)
    log_outcome(call, error.code(), seconds, error)
    return error


def _abandoned(call: Call, observe: Callable[[int, float], None] | None, started: float) -> None:
    seconds = monotonic() - started
    call.finish()
    if observe is not None:
        observe(grpc.StatusCode.CANCELLED.value[0], seconds)
    log_outcome(call, grpc.StatusCode.CANCELLED, seconds)


def _too_late() -> errors.StatusError:
    return errors.StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")


def _wrong_response(expected: type, response: object) -> TypeError:
    return TypeError(f"the servicer returned {type(response).__name__}, not {expected.__name__}")
