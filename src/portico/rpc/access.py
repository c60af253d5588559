"""Who calls, and whether they may: a contract's access rule as one function per method and caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico import errors
from portico.rpc.contract import Access, is_kernels

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.context import Call
    from portico.rpc.policy import Policy
    from portico.rpc.registry import Endpoint

    Check = Callable[[Call], None]


def compile_access(endpoint: Endpoint, policy: Policy, *, caller: str) -> Check | None:
    """A check that raises UNAUTHENTICATED or PERMISSION_DENIED; None when everybody may call.

    ``caller`` is the module the calls come from, empty for the world outside.
    """
    rule = _rule(endpoint, policy, caller)
    if not (policy.commands_need_workflow and _is_foreign_command(endpoint, caller)):
        return rule

    def in_workflow(call: Call) -> None:
        if call.step is None or call.step.module != caller:
            raise outside_workflow(endpoint.method.path, caller)
        if rule is not None:
            rule(call)

    return in_workflow


def compile_authentication(endpoint: Endpoint, policy: Policy) -> Check:
    """A function that finds out whose token a call brought; UNAUTHENTICATED when it is not good.

    On a public method such a token is passed over: whoever refreshes a token sends a stale one.
    """
    authenticate, public = policy.authenticate, _access(endpoint, policy) is Access.PUBLIC

    def identify(call: Call) -> None:
        token, call.unverified = call.unverified, ""
        if authenticate is None:
            return
        try:
            call.origin.identity = authenticate(token)
        except errors.StatusError:
            if not public:
                raise

    return identify


def require_sign_in(call: Call) -> None:
    """Raise UNAUTHENTICATED when nobody is signed in."""
    if not call.origin.identity.subject:
        raise errors.unauthenticated("SIGN_IN_REQUIRED", "sign in and send the access token")


def outside_workflow(path: str, caller: str) -> errors.StatusError:
    """The error for a command of another module that ``caller`` calls outside a step of its own."""
    return errors.internal(
        "COMMAND_OUTSIDE_WORKFLOW",
        f"module {caller} called the command {path} outside a workflow step;"
        " on a split it could not be undone",
    )


def _rule(endpoint: Endpoint, policy: Policy, caller: str) -> Check | None:
    access = _access(endpoint, policy)
    if access is Access.PUBLIC:
        return None
    if access is Access.INTERNAL:
        return None if caller else _refuse_outsiders
    if access is Access.SIGNED_IN:
        return require_sign_in
    return _require_role(endpoint.method.roles)


def _access(endpoint: Endpoint, policy: Policy) -> Access:
    return endpoint.method.access or policy.default_access


def _is_foreign_command(endpoint: Endpoint, caller: str) -> bool:
    if not caller or endpoint.module == caller or endpoint.method.query:
        return False
    return not is_kernels(endpoint.method.path)


def _refuse_outsiders(call: Call) -> None:
    raise errors.permission_denied(
        "INTERNAL_METHOD", "this method is called by the application's own modules only"
    )


def _require_role(roles: frozenset[str]) -> Check:
    def check(call: Call) -> None:
        require_sign_in(call)
        if roles.isdisjoint(call.origin.identity.roles):
            raise errors.permission_denied(
                "ROLE_REQUIRED", "your account may not do this", roles=",".join(sorted(roles))
            )

    return check
