"""The ways in which a servicer ends a call that would otherwise succeed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc

from portico import errors

Act = Callable[[Any], Any]
Code = grpc.StatusCode


@dataclass
class _Status(grpc.Status):
    code: grpc.StatusCode
    details: str
    trailing_metadata: Any


def _swallowed(context: Any, error: type[Exception] | None = None) -> None:
    try:
        context.abort(Code.NOT_FOUND, "swallowed")
    except Exception as aborted:
        if error is not None:
            raise error("after the abort") from aborted


def _set(context: Any, code: Any, details: Any = None) -> None:
    context.set_code(code)
    if details is not None:
        context.set_details(details)


def _raise(error: BaseException) -> Any:
    raise error


def _set_and_raise(context: Any) -> None:
    _set(context, Code.NOT_FOUND, "set before")
    raise ValueError("private")


def _cancel_and_raise(context: Any) -> None:
    context.cancel()
    raise ValueError("private")


def _trailers_and_abort(context: Any) -> None:
    context.set_trailing_metadata((("key", "1"), ("key", "2"), ("other-bin", b"\x00\xff")))
    context.abort(Code.ABORTED, "with trailers")


# What plain grpcio does too. Each ends a call that would otherwise succeed.
PLAIN: dict[str, Act] = {
    "nothing": lambda _: None,
    "abort": lambda context: context.abort(Code.NOT_FOUND, "gone"),
    "abort without details": lambda context: context.abort(Code.ABORTED, ""),
    "abort with text of all kinds": lambda context: context.abort(Code.ABORTED, "é € 😀 \n % \x7f"),
    "abort with OK": lambda context: context.abort(Code.OK, "not so"),
    "abort with trailers": _trailers_and_abort,
    "abort_with_status": lambda context: context.abort_with_status(
        _Status(Code.ABORTED, "whole", (("key", "value"),))
    ),
    "abort_with_status without trailers": lambda context: context.abort_with_status(
        _Status(Code.ABORTED, "whole", None)
    ),
    "abort_with_status and OK": lambda context: context.abort_with_status(
        _Status(Code.OK, "whole", None)
    ),
    "abort, swallowed": _swallowed,
    "abort, swallowed, and an exception": lambda context: _swallowed(context, ValueError),
    "set_code": lambda context: _set(context, Code.NOT_FOUND),
    "set_code and set_details": lambda context: _set(context, Code.NOT_FOUND, "told"),
    "set_code and details in bytes": lambda context: _set(context, Code.NOT_FOUND, b"told"),
    "set_code with a number": lambda context: _set(context, 5, "told"),
    "set_code with OK": lambda context: _set(context, Code.OK, "fine"),
    "set_details alone": lambda context: context.set_details("fine"),
    "set_code, set_details and an exception": _set_and_raise,
    "cancel": lambda context: context.cancel(),
    "cancel and an exception": _cancel_and_raise,
}

# Where the kernel tells more than grpcio, which says UNKNOWN and what the exception says.
TYPED = errors.not_found(
    "PRODUCT_NOT_FOUND",
    "there is no prod_1",
    violations=[errors.Violation("items[0].product_id", "does not exist", "id.unknown")],
    product_id="prod_1",
    attempts=2,
)
OF_THE_KERNEL: dict[str, Act] = {
    "an unknown exception": lambda _: _raise(KeyError("private")),
    "SystemExit": lambda _: _raise(SystemExit(3)),
    "an exception after set_details": lambda context: [
        context.set_details("told"),
        _raise(ValueError("private")),
    ],
    "an exception after set_code": lambda context: [
        context.set_code(Code.NOT_FOUND),
        _raise(ValueError("private")),
    ],
    "a typed error": lambda _: _raise(TYPED),
    "a typed error of another domain": lambda _: _raise(
        errors.StatusError(Code.ABORTED, "theirs", reason="BUSY", domain="other.v1")
    ),
    "a plain status": lambda _: _raise(errors.StatusError(Code.DATA_LOSS, "lost")),
    "a bare RpcError": lambda _: _raise(grpc.RpcError("private")),
    "a typed error with trailers": lambda context: [
        context.set_trailing_metadata((("key", "value"),)),
        _raise(TYPED),
    ],
    "a message that is half a surrogate pair": lambda _: _raise(
        errors.internal("ODD", "\ud800 is no text")
    ),
    "details that are too long for trailers": lambda _: _raise(
        errors.invalid_argument(
            "MANY",
            "€" * 5000,
            violations=[errors.Violation(f"f[{n}]", "ä" * 99, "r") for n in range(500)],
            fact="x" * 9000,
        )
    ),
    "trailers that cannot travel": lambda context: context.set_trailing_metadata((("Ä", "1"),)),
    "trailers of the wrong type": lambda context: context.set_trailing_metadata((("a", 1),)),
}

# What the outcome must say, whatever the transports agree on: of a unary call that fails at once.
SAID: dict[str, dict[str, Any]] = {
    "nothing": {"value.message": "you", "value.call.code": "OK"},
    "abort": {"code": "NOT_FOUND", "details": "gone", "reason": ""},
    "abort with trailers": {"code": "ABORTED", "trailing[1]": ("key", "2")},
    "cancel": {"code": "CANCELLED"},
    "an unknown exception": {
        "code": "INTERNAL",
        "details": "something went wrong on our side; error id <id>",
        "metadata.error_id": "<id>",
    },
    "a typed error with trailers": {
        "code": "NOT_FOUND",
        "details": "there is no prod_1",
        "reason": "PRODUCT_NOT_FOUND",
        "domain": "examples.greeter.v1",
        "metadata.product_id": "prod_1",
        "metadata.attempts": "2",
        "violations[0]": ("items[0].product_id", "does not exist", "id.unknown"),
        "trailing[0]": ("key", "value"),
    },
    "details that are too long for trailers": {"code": "INVALID_ARGUMENT", "reason": "MANY"},
}
