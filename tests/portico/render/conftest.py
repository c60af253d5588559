from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from emporium.app import application
from portico.render import Format, render
from portico.render.layout import Layout
from portico.topology import Topology

SHIPPED = Path(__file__).parents[3] / "topologies"


@pytest.fixture
def topology(tmp_path: Path) -> Callable[[str], Topology]:
    """The topology of a shipped file, or of a text."""

    def load(file: str) -> Topology:
        path = SHIPPED / f"{file}.toml"
        if "\n" in file:
            path = tmp_path / "own.toml"
            path.write_text(file)
        return Topology.load(path, application.modules)

    return load


@pytest.fixture
def layout(topology: Callable[[str], Topology]) -> Callable[[str], Layout]:
    return lambda file: Layout(topology(file), application, application.settings_class())


@pytest.fixture
def written(topology: Callable[[str], Topology]) -> Callable[..., str]:
    """A topology in a format, as text."""

    def write(file: str, format: Format, **profiles: str) -> str:
        return render(
            topology(file),
            application,
            application.settings_class(),
            format=format,
            profiles={name: topology(other) for name, other in profiles.items()},
        )

    return write


@pytest.fixture
def objects(written: Callable[..., str]) -> Callable[[str], list[Any]]:
    """The Kubernetes objects of a topology."""
    return lambda file: deepcopy(_read(written(file, "kubernetes")))


@cache
def _read(text: str) -> list[Any]:
    return list(YAML(typ="safe").load_all(text))
