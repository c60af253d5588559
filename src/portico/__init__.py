"""Portico is a kernel for modular monoliths whose module boundaries are plain gRPC contracts."""

from __future__ import annotations

from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from portico.app import Application
    from portico.errors import StatusError, Violation
    from portico.module import Module
    from portico.program import Program
    from portico.rpc.contract import Access
    from portico.rpc.local import LocalChannel
    from portico.rpc.remote import RemoteChannel
    from portico.settings import Settings

__all__ = [
    "Access",
    "Application",
    "LocalChannel",
    "Module",
    "Program",
    "RemoteChannel",
    "Settings",
    "StatusError",
    "Violation",
]

# The kernel's own contracts (portico.v1, portico.lab.v1) are generated into another import root.
__path__ = extend_path(__path__, __name__)

_HOMES = {
    "Access": "portico.rpc.contract",
    "Application": "portico.app",
    "LocalChannel": "portico.rpc.local",
    "Module": "portico.module",
    "Program": "portico.program",
    "RemoteChannel": "portico.rpc.remote",
    "Settings": "portico.settings",
    "StatusError": "portico.errors",
    "Violation": "portico.errors",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: whoever needs a part does not load the whole."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
