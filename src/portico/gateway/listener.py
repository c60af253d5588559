"""The socket that the HTTP server accepts on, taken before anything else is started."""

from __future__ import annotations

import errno
import os
import socket

_BACKLOG = 1024


class PortTakenError(OSError):
    """Another program listens there already."""


def listen(*, host: str, port: int) -> socket.socket:
    """Take the port; 0 takes any free one, read it with ``getsockname()``.

    Connections wait in the socket's queue until a server accepts them. ``PortTakenError`` or another
    ``OSError`` says which address could not be had.
    """
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise OSError(f"cannot listen on {host!r}: {error.strerror}") from None
    family, kind, protocol, _, address = found[0]
    # The protocol is named because asyncio switches Nagle's delay off only where it is.
    taken = socket.socket(family, kind, protocol)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
        taken.listen(_BACKLOG)
    except OSError as error:
        taken.close()
        raise _explained(error, host, port) from None
    return taken


def inherited(descriptor: int) -> socket.socket:
    """The socket that whoever started this process listens on, and perhaps other processes too.

    All of them accept from one queue: none of the connections in it is lost when one of them ends.
    OSError when ``descriptor`` is no such socket.
    """
    taken = socket.socket(fileno=descriptor)
    if not taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        taken.close()
        raise OSError(errno.EINVAL, f"descriptor {descriptor} is no socket that listens")
    taken.set_inheritable(False)
    return taken


def _explained(error: OSError, host: str, port: int) -> OSError:
    if error.errno == errno.EADDRINUSE:
        return PortTakenError(
            error.errno,
            f"port {port} on {host} is taken: another program listens there;"
            " http_host and http_port (PORTICO_HTTP_PORT) choose another",
        )
    reason = os.strerror(error.errno) if error.errno else str(error)
    return OSError(error.errno, f"cannot listen on {host}:{port}: {reason}")
