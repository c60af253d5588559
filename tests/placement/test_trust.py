"""Who may call the payments process of a split application: orders, with all that proves it, and nobody else."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from commerce.payments.v1.payments_service_pb2 import ChargeRequest, VoidRequest
from commerce.payments.v1.payments_service_pb2_grpc import PaymentsServiceStub
from google.type.money_pb2 import Money
from sqlalchemy import URL

from emporium.app import application
from portico import Program
from portico.clock import SystemClock
from portico.context import Identity, StepMark, entered, root
from portico.errors import StatusError
from portico.ids import Ids
from portico.rpc.peer import Peer
from portico.security.authority import issue_all
from portico.security.certificates import Certificates
from portico.security.passport import Passports
from portico.telemetry import logs
from portico.topology import Topology

TOPOLOGY = Path(__file__).parents[2] / "topologies" / "apart.toml"
SECRET = "the same in all processes"
SECTIONS: dict[str, Any] = {"payments": {"simulate": True}}


@dataclass
class Split:
    """The payments process, running, and connections to it as from other processes of its topology."""

    address: str
    certificates: Path
    stack: ExitStack
    ids: Ids = field(default_factory=lambda: Ids(clock=SystemClock()))

    def stub(
        self, caller: str, *, certificate: str | None = None, secret: str = SECRET
    ) -> PaymentsServiceStub:
        """Calls of module ``caller``, from the process of its name unless its ``certificate`` is another's."""
        peer = Peer(
            self.address,
            services=(),
            process="payments",
            certificates=Certificates(self.certificates, certificate or caller).client(),
            passports=Passports(secret.encode(), clock=SystemClock()),
        )
        self.stack.callback(peer.close)
        return PaymentsServiceStub(peer.channel(caller=caller, default_timeout_seconds=30))

    def charge(self) -> ChargeRequest:
        return ChargeRequest(
            payment_id=self.ids.new("pay"),
            order_id=self.ids.new("ord"),
            customer_id="usr_1",
            amount=Money(currency_code="USD", units=20),
            payment_method="pm_visa_9832",
            request_id=self.ids.new("req"),
        )


@pytest.fixture(scope="module")
def split(database_url: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Split]:
    folder = tmp_path_factory.mktemp("certificates")
    topology = Topology.load(TOPOLOGY, application.modules)
    issue_all(topology, folder, clock=SystemClock())
    address = f"127.0.0.1:{_free_port()}"
    settings = application.settings_class()(
        topology=TOPOLOGY,
        process="payments",
        addresses=dict.fromkeys(topology.processes, address),
        hop_secret=SECRET,
        certificates=folder,
        http_port=0,
        **SECTIONS,
        database_url=database_url.set(drivername="postgresql").render_as_string(
            hide_password=False
        ),
    )
    with ExitStack() as stack:
        program = Program(application, settings)
        program.migrate()
        program.start()
        stack.callback(program.stop)
        yield Split(address, folder, stack)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Errors that are provoked here go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    logs.configure(level="error", descriptor=nowhere)
    yield
    logs.configure(level="warning")
    os.close(nowhere)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def refusal(call: Callable[[Any], Any], request: Any) -> tuple[str, str]:
    """The refusal of a call made for an administrator in a step of a workflow of orders."""
    call_above = root(module="orders", identity=Identity("usr_admin", frozenset({"admin"})))
    call_above.step = StepMark("orders", "ord_1/payment")
    with entered(call_above), pytest.raises(StatusError) as caught:
        call(request)
    return caught.value.code().name, caught.value.reason


def test_orders_may_charge_in_a_step_of_its_own_and_only_there(split: Split) -> None:
    orders, request = split.stub("orders"), split.charge()
    call = root(module="orders")
    call.step = StepMark("orders", "ord_1/payment")
    with entered(call):
        first = orders.Charge(request).payment
        again = orders.Charge(request).payment

    assert first.payment_id == again.payment_id == request.payment_id
    call.step = None
    with entered(call), pytest.raises(StatusError, match="COMMAND_OUTSIDE_WORKFLOW"):
        orders.Charge(split.charge())


def test_a_module_that_does_not_require_payments_may_not(split: Split) -> None:
    found = refusal(split.stub("catalog").Charge, split.charge())

    assert found == ("PERMISSION_DENIED", "CALLER_NOT_ALLOWED")


@pytest.mark.parametrize("process", ["catalog", "payments", "edge"])
def test_another_process_may_not_even_when_it_says_that_it_is_orders(
    split: Split, process: str
) -> None:
    stub = split.stub("orders", certificate=process)

    assert refusal(stub.Charge, split.charge()) == ("PERMISSION_DENIED", "CALLER_NOT_CERTIFIED")
    assert refusal(stub.Void, VoidRequest(payment_id="pay_1"))[0] == "PERMISSION_DENIED"


def test_a_process_without_the_secret_may_not(split: Split) -> None:
    stub = split.stub("orders", secret="what somebody guessed")

    assert refusal(stub.Charge, split.charge()) == ("UNAUTHENTICATED", "PASSPORT_INVALID")


def test_the_front_may_not_on_a_clients_behalf(split: Split) -> None:
    stub = split.stub("", certificate="edge")

    assert refusal(stub.Charge, split.charge()) == ("PERMISSION_DENIED", "INTERNAL_METHOD")


def test_a_process_of_another_authority_cannot_even_connect(split: Split, tmp_path: Path) -> None:
    issue_all(Topology.load(TOPOLOGY, application.modules), tmp_path, clock=SystemClock())
    trusted = (split.certificates / "ca.pem").read_bytes()
    shown = (tmp_path / "orders.key").read_bytes(), (tmp_path / "orders.pem").read_bytes()
    request = split.charge()

    for credentials in (
        grpc.ssl_channel_credentials(trusted, *shown),
        grpc.ssl_channel_credentials(trusted),
    ):
        with grpc.secure_channel(split.address, credentials) as channel:
            assert _plainly_refused(channel, request) is grpc.StatusCode.UNAVAILABLE
    with grpc.insecure_channel(split.address) as channel:
        assert _plainly_refused(channel, request) is grpc.StatusCode.UNAVAILABLE


def _plainly_refused(channel: grpc.Channel, request: ChargeRequest) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        PaymentsServiceStub(channel).Charge(request, timeout=30)
    return caught.value.code()
