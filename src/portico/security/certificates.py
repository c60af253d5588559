"""Mutual TLS between the processes of a topology, with certificates that may be renewed at any time."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, cast

import grpc

from portico.clock import SystemClock
from portico.security.bundle import Bundle, CertificateError, Files
from portico.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from portico.clock import Clock
    from portico.security.bundle import Stamp

_DAY = timedelta(days=1)
_SOON = 7 * _DAY

_log = logs.logger("portico.certificates")


class Certificates:
    """The certificate of one process: what it shows, and whose certificates it accepts.

    ``folder`` has ``ca.pem`` with all authorities that are trusted, ``<process>.pem`` and
    ``<process>.key``. Raises CertificateError when they cannot be used. gRPC takes TLS 1.2 at the least.

    When the files change, new connections are made with what is in them then; those that are open
    stay. What cannot be used is told in the log, and the former certificate stays in use.
    """

    def __init__(self, folder: Path, process: str, *, clock: Clock | None = None) -> None:
        self._files = Files.of(folder, process)
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._stamp = self._doubtful = self._files.stamp()
        self._use(Bundle.read(self._files, now=self._clock.now()), renewals=0)
        self.current()

    def server_credentials(self) -> grpc.ServerCredentials:
        """For a server that only those can connect to who show a certificate of the same authorities."""
        bundle, known = self.current()

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            """Asked by gRPC at each new connection; None is: no change."""
            nonlocal known
            bundle, renewals = self.current()
            if renewals == known:
                return None
            known = renewals
            return _configuration(bundle)

        return grpc.dynamic_ssl_server_credentials(
            _configuration(bundle),
            cast("Callable[[], grpc.ServerCertificateConfiguration]", fetch),
            require_client_authentication=True,
        )

    def client(self) -> ClientCertificate:
        """What one connection to another process shows; each needs its own, to see when it is renewed."""
        return ClientCertificate(self)

    def current(self) -> tuple[Bundle, int]:
        """What is in the files, and how often they have been renewed; looks at them."""
        stamp = self._files.stamp()
        if stamp != self._stamp:
            with self._lock:
                if stamp != self._stamp:
                    self._renew(stamp)
        if self._clock.now() >= self._warn_at:
            self._warn()
        return self._in_use

    def _renew(self, stamp: Stamp) -> None:
        """Read the files; ``stamp`` is from before, so that what is written meanwhile is seen next time."""
        former, renewals = self._in_use
        try:
            self._use(Bundle.read(self._files, now=self._clock.now()), renewals=renewals + 1)
        except CertificateError as failure:
            if stamp == self._doubtful:  # else it may be half written: look again
                self._stamp = stamp
                _log.error(
                    "renewed certificates cannot be used, the former stay",
                    failure=str(failure),
                    expires_at=former.expires_at.isoformat(),
                )
            self._doubtful = stamp
            return
        self._stamp = stamp
        _log.info("certificates renewed", expires_at=self._in_use[0].expires_at.isoformat())

    def _use(self, bundle: Bundle, *, renewals: int) -> None:
        self._in_use = bundle, renewals
        self._warn_at = bundle.expires_at - _SOON

    def _warn(self) -> None:
        """Say once a day that nobody has renewed the certificate."""
        self._warn_at = self._clock.now() + _DAY
        _log.warning(
            "the certificate of this process expires soon",
            file=str(self._files.certificate),
            expires_at=self._in_use[0].expires_at.isoformat(),
        )


class ClientCertificate:
    """The certificate of a process as one of its connections to another shows it."""

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates
        self._known = certificates.current()[1]

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """The newest, for a connection made now."""
        bundle, self._known = self._certificates.current()
        return grpc.ssl_channel_credentials(
            root_certificates=bundle.authority,
            private_key=bundle.key,
            certificate_chain=bundle.certificate,
        )

    def changed(self) -> bool:
        """Whether they differ from those that ``channel_credentials`` gave last; a few microseconds."""
        return self._certificates.current()[1] != self._known


def _configuration(bundle: Bundle) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(bundle.key, bundle.certificate)], root_certificates=bundle.authority
    )
