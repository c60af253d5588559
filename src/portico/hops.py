"""The way between the processes of a topology: the server that others call, and the channels to theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.resilience.admission import Admission
from portico.rpc.hops import Hops
from portico.rpc.peer import Peer
from portico.rpc.server import Server
from portico.security.passport import Passports
from portico.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.clock import Clock
    from portico.placement import Placement
    from portico.rpc.policy import Policy
    from portico.rpc.registry import Registry
    from portico.rpc.remote import RemoteChannel
    from portico.security.certificates import Certificates
    from portico.security.seals import Seals
    from portico.settings import Settings
    from portico.telemetry.metrics import Metrics
    from portico.telemetry.otel.tracer import Tracer


_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class HopServer:
    """Serves the modules of this process to the other processes; whoever has no passport is an outsider here."""

    def __init__(
        self,
        settings: Settings,
        placement: Placement,
        *,
        passports: Passports,
        certificates: Certificates | None,
    ) -> None:
        host, port = _listening(settings, placement)
        self._passports = passports
        self._require_certificate = certificates is not None
        self._drain_seconds = settings.drain_seconds
        self._server = Server(
            host=host,
            port=port,
            threads=placement.process.threads or settings.hop_threads,
            max_message_bytes=settings.max_message_bytes,
            credentials=None if certificates is None else certificates.server_credentials(),
            sharing=settings.supervised.sharing(),
            admission=Admission(patience_seconds=settings.grpc_patience_ms / 1000),
            setting="hop_host and hop_port",
        )

    @property
    def address(self) -> str:
        """``host:port``, the real port once it is taken."""
        return self._server.address

    def take_port(self) -> None:
        """Take the port, without serving yet; OSError when somebody has it."""
        self._server.bind()

    def open(
        self,
        registry: Registry,
        policy: Policy,
        *,
        callers: Mapping[str, frozenset[str]],
        metrics: Metrics,
    ) -> None:
        """Serve ``registry``; ``callers`` names the modules that may call each service."""
        hops = Hops(
            passports=self._passports,
            callers=callers,
            require_certificate=self._require_certificate,
        )
        self._server.mount(registry, policy, hops=hops)
        self._server.measure(metrics, listener="hop")
        self._server.start()

    def close(self) -> None:
        """Refuse new calls and let running ones end, ``drain_seconds`` at the most."""
        self._server.stop(self._drain_seconds)


class Neighbours:
    """The other processes, each behind one connection that all modules of this one share."""

    def __init__(
        self, settings: Settings, placement: Placement, *, clock: Clock, metrics: Metrics
    ) -> None:
        """Nothing connects before the first call.

        SettingsError without a secret for passports, or when a neighbour's address is not known.
        """
        self._settings = settings
        self._placement = placement
        self._clock = clock
        self._secret = _secret(settings)
        self._passports = Passports(self._secret, clock=clock)
        self._certificates = _certificates(settings, placement)
        self._peers = {
            process.name: Peer(
                _address(settings, placement, process.name),
                process=process.name,
                services=placement.services_of(process),
                certificates=None if self._certificates is None else self._certificates.client(),
                settings=settings.remote,
                passports=self._passports,
                max_message_bytes=settings.max_message_bytes,
                metrics=metrics,
            )
            for process in placement.elsewhere()
        }

    def channel(
        self,
        process: str,
        *,
        caller: str,
        timeout_seconds: float | None = None,
        tracer: Tracer | None = None,
    ) -> RemoteChannel:
        """A channel for module ``caller``; ``timeout_seconds`` bounds each unary call."""
        return self._peers[process].channel(
            caller=caller,
            timeout_seconds=timeout_seconds,
            tracer=tracer,
            default_timeout_seconds=self._settings.default_timeout_seconds,
            commands_need_workflow=self._placement.commands_need_workflow,
        )

    def seals(self) -> Seals:
        """For what goes to the others by way of somebody else.

        SettingsError when they would not accept what this process's certificate has signed.
        """
        from portico.security.bundle import CertificateError
        from portico.security.seals import Seals

        try:
            return Seals(self._secret, certificates=self._certificates, clock=self._clock)
        except CertificateError as failure:
            raise SettingsError(f"certificates: {failure}") from failure

    def server(self) -> HopServer:
        """What the others call; its port is not taken yet."""
        return HopServer(
            self._settings,
            self._placement,
            passports=self._passports,
            certificates=self._certificates,
        )

    def close(self) -> None:
        """Close the connections."""
        for peer in self._peers.values():
            peer.close()


def _secret(settings: Settings) -> bytes:
    """What the processes know each other by. SettingsError without one."""
    if settings.hop_secret is None:
        raise SettingsError(
            "hop_secret is required where a topology has several processes: set PORTICO_HOP_SECRET"
            " to the same random text in all of them, 16 characters at the least"
        )
    return settings.hop_secret.get_secret_value().encode()


def _certificates(settings: Settings, placement: Placement) -> Certificates | None:
    """The certificate of this process; None where calls between processes go in the clear.

    SettingsError when there is one that cannot be used, or none where there must be.
    """
    if settings.certificates is None:
        if settings.profile == "production" and settings.hop_host not in _LOOPBACK:
            raise SettingsError(
                "certificates are required in the production profile where other machines reach"
                f" hop_host ({settings.hop_host}): a passport that is overheard can be used for a while"
            )
        return None
    from portico.security.bundle import CertificateError
    from portico.security.certificates import Certificates

    try:
        return Certificates(settings.certificates, placement.process.name)
    except CertificateError as failure:
        raise SettingsError(f"certificates: {failure}") from failure


def _listening(settings: Settings, placement: Placement) -> tuple[str, int]:
    """Where to listen: the port that the others call, unless the settings have another."""
    if settings.hop_port is not None:
        return settings.hop_host, settings.hop_port
    return settings.hop_host, int(
        _address(settings, placement, placement.process.name).rpartition(":")[2]
    )


def _address(settings: Settings, placement: Placement, process: str) -> str:
    found = settings.addresses.get(process) or placement.topology.processes[process].address
    if not found:
        raise SettingsError(
            f"nobody knows where to call process {process}: give it an address in topology"
            f" {placement.topology.name}, or PORTICO_ADDRESSES, or start all with `portico up`"
        )
    return found
