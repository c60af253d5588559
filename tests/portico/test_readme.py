"""The README's application of its own runs as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def _block_with(text: str) -> str:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (found,) = [str(block) for block in blocks if text in block]
    return found


def test_the_application_of_twenty_lines_answers_in_process_and_over_a_socket(
    tmp_path: Path,
) -> None:
    source = _block_with("class Greeter")
    assert len([line for line in source.splitlines() if line.strip()]) <= 25
    (tmp_path / "hello.py").write_text(source)

    done = subprocess.run(
        [sys.executable, "hello.py"],
        cwd=tmp_path,
        env=_clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stdout == "Hello, you!\nHello, you!\n", done.stderr
    assert done.returncode == 0
    assert not (tmp_path / ".portico").exists(), "an application without data started a database"


def _clean_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("PORTICO_")}
