"""What others need in order to run a topology: compose, Kubernetes and Envoy, as files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from portico.render.compose import compose
from portico.render.envoy import envoy
from portico.render.kubernetes import kubernetes
from portico.render.layout import Layout
from portico.topology import TopologyError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.app import Application
    from portico.settings import Settings
    from portico.topology import Topology

__all__ = ["FORMATS", "Format", "RenderError", "envoy", "render"]

Format = Literal["compose", "kubernetes", "envoy"]
FORMATS: tuple[Format, ...] = get_args(Format)

_ENVOY_LISTENS = "127.0.0.1:8081"
_SLACK_SECONDS = 5


class RenderError(TopologyError):
    """The topology cannot be written in this format; the message says why, for a person."""


def render(
    topology: Topology,
    application: Application,
    settings_class: type[Settings],
    *,
    format: Format,
    profiles: Mapping[str, Topology] | None = None,
) -> str:
    """``topology`` as a file of this ``format``: the same text for the same topology, without any secret.

    ``profiles`` are further topologies for the compose file, each under the name of its profile there.
    Raises RenderError when there is no such format, when it has no profiles, or when a name in the file
    would be there twice.
    """
    if format not in FORMATS:
        raise RenderError(f"there is no format {format}; there are {', '.join(FORMATS)}")
    layout = Layout(topology, application, settings_class)
    others = {
        name: Layout(other, application, settings_class) for name, other in (profiles or {}).items()
    }
    if format == "compose":
        _refuse_namesakes([layout, *others.values()])
        return compose(layout, profiles=others)
    if others:
        raise RenderError(f"{format} has no profiles: render each topology by itself")
    if format == "kubernetes":
        return kubernetes(layout)
    return envoy(
        layout.services(),
        grpc=f"127.0.0.1:{layout.default('grpc_port')}",
        listen=_ENVOY_LISTENS,
        descriptor_set=f"{layout.name}.binpb",
        timeout_seconds=layout.default("default_timeout_seconds") + _SLACK_SECONDS,
        max_body_bytes=layout.default("max_body_bytes"),
    )


def _refuse_namesakes(layouts: list[Layout]) -> None:
    names = [process.name for layout in layouts for process in layout.processes]
    for name in names:
        if names.count(name) > 1:
            raise RenderError(
                f"two topologies have a process {name}: a compose file has one service of a name"
            )
