"""Another process of the topology, as this one calls it."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Protocol

import grpc

from portico.resilience.breaker import CircuitBreaker, State
from portico.resilience.bulkhead import Bulkhead
from portico.resilience.service_config import service_config
from portico.resilience.settings import RemoteSettings
from portico.rpc.allowance import Allowance
from portico.rpc.contract import is_query
from portico.rpc.departure import Sender
from portico.rpc.guard import Guard
from portico.rpc.guarded import GuardedChannel
from portico.rpc.link import Link
from portico.rpc.remote import RemoteChannel
from portico.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from portico.rpc.policy import Observer
    from portico.security.passport import Passports
    from portico.telemetry.metrics import Metrics
    from portico.telemetry.otel.tracer import Tracer

_QUERIES, _COMMANDS = "queries", "commands"
_LOOK_EVERY_SECONDS = 5.0
_FIRST_RECONNECT_MS = 100
_CONNECTING_MS = 5000

_log = logs.logger("portico.rpc")


class Certificates(Protocol):
    """Where TLS credentials come from, and whether there are newer ones."""

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """The newest."""

    def changed(self) -> bool:
        """Whether they differ from those that ``channel_credentials`` gave last."""


class Peer:
    """One connection to another process, shared by all modules of this one.

    ``address`` is ``host:port``, several of them with commas between (IP addresses), or any target that
    gRPC knows, such as ``dns:///payments:50052``; calls take turns over all addresses found. ``process`` is
    its name: for people, and under TLS the name that its certificate must have. ``services`` are those
    that it serves, for the rpcs that may be tried again. Nothing connects before the first call.
    """

    def __init__(
        self,
        address: str,
        *,
        services: Sequence[str],
        process: str = "",
        certificates: Certificates | None = None,
        settings: RemoteSettings | None = None,
        passports: Passports | None = None,
        max_message_bytes: int = 4 * 1024 * 1024,
        metrics: Metrics | None = None,
    ) -> None:
        self.settings = settings or RemoteSettings()
        self._address = address
        self._name = process or address
        self._services = services
        self._certificates = certificates
        self._max_message_bytes = max_message_bytes
        self._passports = passports
        self._link = Link(self._connect)
        self._bulkhead = Bulkhead(self.settings.most_calls)
        self._breakers = {group: self._breaker(group) for group in (_QUERIES, _COMMANDS)}
        self._guards = {
            group: Guard(
                self._name,
                bulkhead=self._bulkhead,
                breaker=breaker if self.settings.breaker else None,
                slow_seconds=self.settings.slow_seconds,
            )
            for group, breaker in self._breakers.items()
        }
        self._metrics = metrics
        if metrics is not None:
            self._measure(metrics)
        self._closed = threading.Event()
        if certificates is not None:
            threading.Thread(
                target=self._look_out,
                args=(certificates,),
                name="portico-certificates",
                daemon=True,
            ).start()

    def channel(
        self,
        *,
        caller: str = "",
        timeout_seconds: float | None = None,
        default_timeout_seconds: float | None = 10.0,
        commands_need_workflow: bool = False,
        tracer: Tracer | None = None,
    ) -> RemoteChannel:
        """A channel for module ``caller``, empty for the world outside; closing it leaves the connection open.

        ``timeout_seconds`` bounds each unary call, ``default_timeout_seconds`` one that nothing else bounds.
        ``commands_need_workflow`` and ``tracer`` are as in ``Policy``.
        """
        return RemoteChannel(
            GuardedChannel(self._link, self._guard_of, most_seconds=timeout_seconds),
            allowance=Allowance(
                default_seconds=default_timeout_seconds,
                most_seconds=timeout_seconds,
                margin_seconds=self.settings.margin_ms / 1000,
            ),
            sender=Sender(
                caller=caller,
                passports=self._passports,
                commands_need_workflow=commands_need_workflow,
            ),
            tracer=tracer,
            observer_of=self._observer_of(caller),
        )

    def renew(self) -> None:
        """Connect anew, with the newest credentials; calls under way end over the connection they have."""
        self._link.renew()

    def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        self._closed.set()
        self._link.close()

    def _observer_of(self, caller: str) -> Callable[[str], Observer] | None:
        if self._metrics is None:
            return None
        return partial(self._metrics.hop, target=self._name, caller=caller)

    def _guard_of(self, path: str) -> Guard:
        return self._guards[_QUERIES if is_query(path) else _COMMANDS]

    def _breaker(self, group: str) -> CircuitBreaker:
        return CircuitBreaker(self.settings.rules(), watch=partial(_log_change, self._name, group))

    def _connect(self) -> grpc.Channel:
        target, several = _target(self._address)
        options = (
            (
                "grpc.service_config",
                service_config(self._services, self.settings, check_health=several),
            ),
            ("grpc.max_receive_message_length", self._max_message_bytes),
            ("grpc.max_send_message_length", self._max_message_bytes),
            ("grpc.keepalive_time_ms", round(self.settings.keepalive_seconds * 1000)),
            ("grpc.keepalive_timeout_ms", round(self.settings.keepalive_timeout_seconds * 1000)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.initial_reconnect_backoff_ms", _FIRST_RECONNECT_MS),
            ("grpc.min_reconnect_backoff_ms", _CONNECTING_MS),
            ("grpc.max_reconnect_backoff_ms", self.settings.most_reconnect_ms),
            ("grpc.use_local_subchannel_pool", 1),  # a renewed connection is a new one
        )
        if self._certificates is None:
            return grpc.insecure_channel(target, options)
        named = ("grpc.ssl_target_name_override", self._name)
        return grpc.secure_channel(
            target, self._certificates.channel_credentials(), (*options, named)
        )

    def _look_out(self, certificates: Certificates) -> None:
        """Renew the connection when there are newer certificates; unusable ones are told and passed over."""
        while not self._closed.wait(_LOOK_EVERY_SECONDS):
            try:
                if certificates.changed():
                    self.renew()
                    _log.info("certificates_renewed", target=self._name)
            except Exception:  # noqa: BLE001  # the connection that is there still works
                _log.exception("certificates_not_renewed", target=self._name)

    def _measure(self, metrics: Metrics) -> None:
        target, bulkhead = self._name, self._bulkhead
        metrics.gauge(
            "portico_remote_calls_in_flight",
            "Calls to another process that have not ended.",
            lambda: bulkhead.in_flight,
            target=target,
        )
        metrics.counter(
            "portico_bulkhead_refused",
            "Calls refused because too many to the same process were under way.",
            lambda: bulkhead.refused,
            target=target,
        )
        for group, guard in self._guards.items():
            metrics.gauge(
                "portico_circuit_state",
                "0 closed, 1 half open, 2 open.",
                partial(_state_number, self._breakers[group]),
                target=target,
                group=group,
            )
            metrics.counter(
                "portico_circuit_refused",
                "Calls refused by an open circuit.",
                partial(_refused, guard),
                target=target,
                group=group,
            )


def _target(address: str) -> tuple[str, bool]:
    """The address as gRPC reads it, and whether there may be several servers behind it."""
    if "," in address and ":///" not in address and not address.startswith(("ipv4:", "ipv6:")):
        family = "ipv6" if address.startswith("[") else "ipv4"
        return f"{family}:{address}", True
    return address, "," in address or address.startswith("dns:")


def _state_number(breaker: CircuitBreaker) -> float:
    return breaker.state.value


def _refused(guard: Guard) -> float:
    return guard.refused


def _log_change(
    target: str, group: str, state: State, *, failure_rate: float, slow_rate: float
) -> None:
    tell = _log.warning if state is State.OPEN else _log.info
    tell(
        f"circuit_{state.name.lower()}",
        target=target,
        group=group,
        failure_rate=round(failure_rate, 2),
        slow_rate=round(slow_rate, 2),
    )
