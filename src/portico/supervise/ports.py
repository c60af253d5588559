"""Ports that a supervisor keeps for the processes it starts."""

from __future__ import annotations

import os
import socket

from portico.gateway import listen

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # to be called, not to listen


class ReservedPort:
    """A port for processes that share it: nobody else gets it, also while none of them runs.

    It is bound and does not listen, so that no connection ever comes here.
    """

    def __init__(self, *, host: str, port: int = 0, setting: str) -> None:
        """0 takes any free port. OSError when somebody has it; ``setting`` is what chooses another."""
        self.host = host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        _refuse_taken(family, host, port, setting)
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            self._socket.bind((host, port))
        except OSError as failure:
            self._socket.close()
            raise _told(failure, host, port, setting) from failure
        self.port = int(self._socket.getsockname()[1])

    @property
    def address(self) -> str:
        """``host:port`` for those who call it from this machine."""
        return _address(self.host, self.port)

    def close(self) -> None:
        """Give the port up."""
        self._socket.close()


class ListeningSocket:
    """A socket that listens, for processes that inherit it: its queue outlives each of them."""

    def __init__(self, *, host: str, port: int = 0) -> None:
        """0 takes any free port. OSError when somebody has it."""
        self.host = host
        self._socket = listen(host=host, port=port)
        self.port = int(self._socket.getsockname()[1])

    @property
    def address(self) -> str:
        """``host:port`` for those who call it from this machine."""
        return _address(self.host, self.port)

    @property
    def descriptor(self) -> int:
        """What the processes inherit."""
        return self._socket.fileno()

    def close(self) -> None:
        """Listen no longer, once those who inherited it do not either."""
        self._socket.close()


def _address(host: str, port: int) -> str:
    host = _WILDCARDS.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _refuse_taken(family: int, host: str, port: int, setting: str) -> None:
    """Without sharing, as somebody else's sharing is no invitation."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as failure:
            raise _told(failure, host, port, setting) from failure


def _told(failure: OSError, host: str, port: int, setting: str) -> OSError:
    reason = os.strerror(failure.errno) if failure.errno else str(failure)
    return OSError(
        failure.errno, f"gRPC cannot listen on {host}:{port}: {reason}; {setting} choose another"
    )
