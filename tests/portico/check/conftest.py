from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.portico.check.planting import Planted


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], Planted]:
    """Makes an application of these files."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return lambda files: Planted(tmp_path, files)
