"""Calls between processes under TLS: a module's certificate and its passport must agree."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from cryptography import x509

from portico.clock import ManualClock, SystemClock
from portico.context import Identity, entered, root
from portico.errors import StatusError
from portico.rpc.peer import Peer
from portico.security.authority import issue_all
from portico.security.certificates import Certificates
from portico.security.passport import Passports
from portico.topology import Process, Topology
from tests.portico.security.callee import OTHER, SECRET, SERVICE, tell

if TYPE_CHECKING:
    from tests.portico.security.callee import Callee
    from tests.portico.security.conftest import Ask, Serve

pytestmark = pytest.mark.usefixtures("quiet")

PATIENCE_SECONDS = 20
TOPOLOGY = Topology(
    name="apart",
    processes={
        "payments": Process(name="payments", modules=("payments",)),
        "catalog": Process(name="catalog", modules=("catalog",)),
        "orders": Process(name="orders", modules=("orders",)),
        "edge": Process(name="edge", front=True),
    },
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    issue_all(TOPOLOGY, tmp_path, clock=SystemClock())
    return tmp_path


@pytest.fixture
def payments(folder: Path, serve: Serve) -> Callee:
    return serve(credentials=Certificates(folder, "payments").server_credentials())


def shown(folder: Path, process: str) -> grpc.ChannelCredentials:
    """Whatever is in the files, good or not."""
    return grpc.ssl_channel_credentials(
        (folder / "ca.pem").read_bytes(),
        (folder / f"{process}.key").read_bytes(),
        (folder / f"{process}.pem").read_bytes(),
    )


def refusal(ask: Ask, *arguments: Any, **options: Any) -> tuple[str, str]:
    with pytest.raises(StatusError) as caught:
        ask(*arguments, **options)
    return caught.value.code().name, caught.value.reason


CUT_OFF = ("UNAVAILABLE", "")


class TestAProcess:
    def test_with_its_own_certificate_calls_as_its_module(
        self, payments: Callee, folder: Path, ask: Ask
    ) -> None:
        orders = Certificates(folder, "orders").client().channel_credentials()
        with entered(root(module="orders", identity=Identity("ann", frozenset({"admin"})))):
            told = ask(payments.address, "TellAdmins", tls=orders)

        assert (told["caller"], told["subject"], told["roles"]) == ("orders", "ann", ["admin"])

    def test_without_a_certificate_cannot_connect(
        self, payments: Callee, folder: Path, ask: Ask
    ) -> None:
        only_trusting = grpc.ssl_channel_credentials((folder / "ca.pem").read_bytes())

        assert refusal(ask, payments.address, "TellAnybody", tls=only_trusting) == CUT_OFF
        assert refusal(ask, payments.address, "TellAnybody") == CUT_OFF  # in the clear

    def test_with_a_certificate_of_another_authority_cannot_connect(
        self, payments: Callee, folder: Path, ask: Ask, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        issue_all(TOPOLOGY, elsewhere, clock=SystemClock())
        foreign = grpc.ssl_channel_credentials(
            (folder / "ca.pem").read_bytes(),
            (elsewhere / "orders.key").read_bytes(),
            (elsewhere / "orders.pem").read_bytes(),
        )

        assert refusal(ask, payments.address, "TellAnybody", tls=foreign) == CUT_OFF

    def test_with_an_expired_certificate_cannot_connect(
        self, payments: Callee, folder: Path, ask: Ask
    ) -> None:
        two_days_ago = ManualClock(SystemClock().now() - timedelta(days=2))
        issue_all(TOPOLOGY, folder, days=1, clock=two_days_ago)
        assert refusal(ask, payments.address, tls=shown(folder, "orders")) == CUT_OFF

        issue_all(TOPOLOGY, folder, days=1, clock=SystemClock())
        assert ask(payments.address, tls=shown(folder, "orders"))["caller"] == "orders"

    def test_that_is_another_than_was_meant_is_not_called(
        self, folder: Path, serve: Serve, ask: Ask
    ) -> None:
        catalog = serve(credentials=Certificates(folder, "catalog").server_credentials())

        assert refusal(ask, catalog.address, tls=shown(folder, "orders")) == CUT_OFF

    def test_with_the_certificate_of_another_module_is_refused(
        self, payments: Callee, folder: Path, ask: Ask
    ) -> None:
        catalog, edge = shown(folder, "catalog"), shown(folder, "edge")
        refused = ("PERMISSION_DENIED", "CALLER_NOT_CERTIFIED")

        for method in ("Tell", "TellAnybody", "Charge", "Follow", "Collect"):
            assert refusal(ask, payments.address, method, caller="orders", tls=catalog) == refused
        assert refusal(ask, payments.address, caller="orders", tls=edge) == refused

    def test_whose_module_does_not_require_the_service_is_refused(
        self, payments: Callee, folder: Path, ask: Ask
    ) -> None:
        catalog = shown(folder, "catalog")

        told = ask(payments.address, f"/{OTHER}/Tell", caller="catalog", tls=catalog)
        assert told["caller"] == "catalog"
        found = refusal(ask, payments.address, caller="catalog", tls=catalog)
        assert found == ("PERMISSION_DENIED", "CALLER_NOT_ALLOWED")

    def test_with_a_wrong_secret_is_refused(self, payments: Callee, folder: Path, ask: Ask) -> None:
        guessed = Passports(b"guessed" * 5, clock=SystemClock())

        found = refusal(ask, payments.address, passports=guessed, tls=shown(folder, "orders"))
        assert found == ("UNAUTHENTICATED", "PASSPORT_INVALID")

    def test_without_a_passport_hands_on_calls_from_outside(
        self, payments: Callee, folder: Path, ask: Ask
    ) -> None:
        edge = shown(folder, "edge")

        assert ask(payments.address, "TellAnybody", caller="", tls=edge)["caller"] == ""
        found = refusal(ask, payments.address, caller="", tls=edge)
        assert found == ("PERMISSION_DENIED", "INTERNAL_METHOD")


class TestRenewal:
    def test_fails_no_call(self, payments: Callee, folder: Path) -> None:
        peer = Peer(
            payments.address,
            services=(SERVICE,),
            process="payments",
            certificates=Certificates(folder, "orders").client(),
            passports=Passports(SECRET, clock=SystemClock()),
        )
        first = _serial(payments, folder)
        calls = _Calls(peer)
        for _ in range(4):
            issue_all(TOPOLOGY, folder, clock=SystemClock())
            peer.renew()
            calls.wait_for(20)
        calls.stop()
        peer.close()

        assert calls.failures == []
        assert _serial(payments, folder) != first
        assert _serial(payments, folder) == _certificate(folder).serial_number

    def test_that_went_wrong_leaves_the_server_as_it_was(
        self, payments: Callee, folder: Path, ask: Ask
    ) -> None:
        orders, first = shown(folder, "orders"), _serial(payments, folder)
        (folder / "payments.pem").write_text("half of i")

        assert ask(payments.address, tls=orders)["caller"] == "orders"
        assert _serial(payments, folder) == first


class _Calls:
    """Calls one after the other, in two threads, until they are stopped."""

    def __init__(self, peer: Peer) -> None:
        self.failures: list[str] = []
        self._made = 0
        self._stopping = threading.Event()
        self._more = threading.Condition()
        self._channel = peer.channel(caller="orders")
        self._threads = [threading.Thread(target=self._run) for _ in range(2)]
        for thread in self._threads:
            thread.start()

    def wait_for(self, more: int) -> None:
        with self._more:
            goal = self._made + more
            assert self._more.wait_for(lambda: self._made >= goal, PATIENCE_SECONDS)

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                told = tell(self._channel, f"/{SERVICE}/Tell")
                assert told["caller"] == "orders", json.dumps(told)
            except StatusError as failure:
                self.failures.append(str(failure))
            with self._more:
                self._made += 1
                self._more.notify_all()


class TestTls:
    def test_is_of_version_1_2_at_the_least(self, payments: Callee, folder: Path) -> None:
        assert _handshake(payments, folder, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
        assert _handshake(payments, folder, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
        with (
            pytest.warns(DeprecationWarning, match="TLSv1_1"),
            pytest.raises((ssl.SSLError, ConnectionError)),
        ):
            _handshake(payments, folder, ssl.TLSVersion.TLSv1_1)


def _handshake(server: Callee, folder: Path, version: ssl.TLSVersion) -> str | None:
    with _connected(server, folder, version) as connection:
        return connection.version()


def _serial(server: Callee, folder: Path) -> int:
    """The serial number of the certificate that a new connection is shown."""
    with _connected(server, folder, ssl.TLSVersion.TLSv1_3) as connection:
        der = connection.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


def _connected(server: Callee, folder: Path, version: ssl.TLSVersion) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.set_alpn_protocols(["h2"])
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(folder / "orders.pem", folder / "orders.key")
    plain = socket.create_connection((server.host, server.port), timeout=PATIENCE_SECONDS)
    try:
        return context.wrap_socket(plain, server_hostname="payments")
    except BaseException:
        plain.close()
        raise


def _certificate(folder: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / "payments.pem").read_bytes())
