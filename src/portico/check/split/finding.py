"""One thing that a move would break or change, and the contract's words about an rpc that it rests on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from google.protobuf.descriptor_pb2 import MethodOptions

from portico.rpc.contract import descriptor_at, is_kernels, is_query
from portico.rpc.idempotency import takes_key

Severity = Literal["error", "note"]


class Finding(NamedTuple):
    """An ``error`` would break, or lose atomicity; a ``note`` is a change of meaning to know about."""

    severity: Severity
    file: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.severity:5} {_shown(self.file)}:{self.line}: {self.text}"


def is_command(path: str) -> bool:
    """Whether the rpc at ``path`` may change something, as far as the contract says, and belongs to a module."""
    return not is_query(path) and not is_kernels(path)


def is_idempotent(path: str) -> bool:
    """Whether the contract promises that a repeat of the rpc does nothing more."""
    found = descriptor_at(path)
    level = None if found is None else found.GetOptions().idempotency_level
    return level in {MethodOptions.IDEMPOTENT, MethodOptions.NO_SIDE_EFFECTS}


def takes_request_id(path: str) -> bool:
    """Whether the request of the rpc has a ``request_id``."""
    found = descriptor_at(path)
    return found is not None and takes_key(found.input_type)


def rpc_name(path: str) -> str:
    """The name alone: ``Charge``."""
    return path.rpartition("/")[2]


def _shown(file: Path) -> Path:
    return file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
