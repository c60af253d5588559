"""Who may call what: a contract's access rule as one function per method and caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico import errors
from portico.rpc.contract import Access

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.context import Call
    from portico.rpc.policy import Policy
    from portico.rpc.registry import Endpoint


def compile_access(
    endpoint: Endpoint, policy: Policy, *, caller: str
) -> Callable[[Call], None] | None:
    """A check that raises UNAUTHENTICATED or PERMISSION_DENIED; None when everybody may call.

    ``caller`` is the module the calls come from, empty for the world outside.
    """
    rule = _rule(endpoint, policy, caller)
    if not (policy.commands_need_workflow and _foreign_command(endpoint, caller)):
        return rule

    def in_workflow(call: Call) -> None:
        if call.step is None or call.step.module != caller:
            raise _outside_workflow(endpoint, caller)
        if rule is not None:
            rule(call)

    return in_workflow


def is_public(endpoint: Endpoint, policy: Policy) -> bool:
    """Whether nobody needs to sign in: a stale token is then no reason to refuse."""
    return (endpoint.method.access or policy.default_access) is Access.PUBLIC


def _rule(endpoint: Endpoint, policy: Policy, caller: str) -> Callable[[Call], None] | None:
    access = endpoint.method.access or policy.default_access
    if access is Access.PUBLIC:
        return None
    if access is Access.INTERNAL:
        return None if caller else _refuse_outsiders
    if access is Access.SIGNED_IN:
        return _require_sign_in
    return _require_role(endpoint.method.roles)


def _foreign_command(endpoint: Endpoint, caller: str) -> bool:
    return bool(caller) and endpoint.module != caller and not endpoint.method.query


def _refuse_outsiders(call: Call) -> None:
    raise errors.permission_denied(
        "INTERNAL_METHOD", "this method is called by the application's own modules only"
    )


def _require_sign_in(call: Call) -> None:
    if not call.origin.identity.subject:
        raise errors.unauthenticated("SIGN_IN_REQUIRED", "sign in and send the access token")


def _require_role(roles: frozenset[str]) -> Callable[[Call], None]:
    def check(call: Call) -> None:
        _require_sign_in(call)
        if roles.isdisjoint(call.origin.identity.roles):
            raise errors.permission_denied(
                "ROLE_REQUIRED", "your account may not do this", roles=",".join(sorted(roles))
            )

    return check


def _outside_workflow(endpoint: Endpoint, caller: str) -> errors.StatusError:
    return errors.internal(
        "COMMAND_OUTSIDE_WORKFLOW",
        f"module {caller} called the command {endpoint.method.path} outside a workflow step;"
        " on a split it could not be undone",
    )
