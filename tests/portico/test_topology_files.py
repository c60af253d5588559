"""Files that say something of which nobody could tell what is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from portico.topology import Topology, TopologyError
from tests.portico.test_split import ASKING, CATALOG

if TYPE_CHECKING:
    from pathlib import Path

ONE = '[processes.a]\nmodules = ["*"]\nfront = true\n'
TWO = '[processes.b]\nmodules = ["catalog"]\n'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"\xff\xfe", "is not TOML"),
        (f'{ONE}address = "a:65536"', "processes.a.address: there is no port above 65535"),
        (
            f'{ONE}address = "a:1"\n{TWO}address = "a:1"',
            "processes.b.address: a:1 is given to 2 processes",
        ),
        (
            f'{ONE}[edges]\n"asking->catalog" = {{}}\n"asking -> catalog" = {{}}',
            'edges."asking -> catalog": is there 2 times',
        ),
    ],
)
def test_they_are_refused_and_told(tmp_path: Path, text: str | bytes, complaint: str) -> None:
    file = tmp_path / "topology.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(TopologyError) as refused:
        Topology.load(file, [ASKING, CATALOG])

    assert complaint in str(refused.value)
