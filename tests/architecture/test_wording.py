"""What every module says alike, though none may import another."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

EMPORIUM = Path(__file__).parents[2] / "src" / "emporium"
REASON = "REQUEST_ID_REUSED"
WORDING = "this request_id (REST: Idempotency-Key) was used for something else; take a new one"


def _messages(path: Path) -> Iterator[str]:
    """With which message a file refuses a request_id that was used before."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(
                args=[ast.Constant(value=reason) | ast.Name(id=reason), ast.Constant(value=message)]
            ) if reason == REASON:
                yield str(message)


def test_a_request_id_used_before_is_refused_in_words_for_both_kinds_of_clients() -> None:
    found = {
        (path.relative_to(EMPORIUM).parts[0], message)
        for path in EMPORIUM.rglob("*.py")
        for message in _messages(path)
    }
    modules = ("auth", "catalog", "inventory", "orders", "payments", "users")
    assert sorted(found) == [(module, WORDING) for module in modules]
