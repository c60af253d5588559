"""What a supervisor tells the processes that it starts: the settings section ``supervised``."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from portico.rpc.sharing import PortSharing


class SupervisedSettings(BaseModel):
    """Set by ``portico up`` and ``portico serve --workers``; hardly by anyone else."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    shared_ports: bool = Field(
        default=False, description="share gRPC's ports with other processes that do the same"
    )
    http_socket: int | None = Field(
        None, ge=3, description="descriptor of a socket that listens already, to serve REST on"
    )
    linger_seconds: float = Field(
        0.0,
        ge=0,
        le=600,
        description="at SIGTERM: time to go on serving connections that are open, while they move elsewhere",
    )
    workers: int = Field(
        1,
        ge=1,
        le=256,
        description="copies of this process that run beside each other, itself included",
    )
    metrics_folder: Path | None = Field(
        None, description="where the workers of a process find each other's metrics"
    )

    def sharing(self) -> PortSharing | None:
        """How gRPC's servers share their ports; None when they do not."""
        return PortSharing(linger_seconds=self.linger_seconds) if self.shared_ports else None
