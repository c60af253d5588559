"""Events of another process: only what its modules can have published, and only from where they run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from portico.v1 import events_service_pb2 as pb
from portico.v1.events_service_pb2_grpc import (
    EventsServiceStub,
    add_EventsServiceServicer_to_server,
)

from portico.clock import SystemClock
from portico.errors import StatusError
from portico.events import Doorbell, EventsServicer, Relay
from portico.events.carrier import CallCarrier, Carrier
from portico.events.provenance import Provenance
from portico.events.receiver import UnreachableError
from portico.events.reception import Reception
from portico.events.streams import Streams, letters
from portico.events.streams.letters import Box
from portico.rpc.hops import Hops
from portico.rpc.peer import Peer
from portico.rpc.policy import Policy
from portico.rpc.registry import Registry
from portico.rpc.server import Server
from portico.security.authority import issue_all
from portico.security.certificates import Certificates
from portico.security.passport import Passports
from portico.security.seals import Seals
from portico.topology import Process, Topology
from tests.portico.events.nodes import is_read

pytestmark = pytest.mark.usefixtures("quiet")

MODULES = {"orders": "shop", "catalog": "shop", "payments": "payments"}
TOPOLOGY = Topology(
    name="apart",
    processes={
        "shop": Process(name="shop", modules=("catalog", "orders")),
        "payments": Process(name="payments", modules=("payments",)),
    },
)
SECRET = b"the secret of this topology"
PASSPORTS = Passports(SECRET, clock=SystemClock())
NOT_HERE = pb.DeliverResponse.NOT_HERE

Send = Callable[..., int]


@pytest.fixture(params=[True, False], ids=["mtls", "in the clear"])
def certified(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=["rpc", "redis"])
def send(
    certified: bool, tmp_path: Path, redis_url: str, request: pytest.FixtureRequest
) -> Iterator[Send]:
    """Delivers events of modules to a process, as one of the modules of another, and returns the last outcome."""
    issue_all(TOPOLOGY, tmp_path, clock=SystemClock())
    with ExitStack() as stack:
        carrier: Callable[[str], Carrier] = (
            _by_calls(tmp_path, stack, certified=certified)
            if request.param == "rpc"
            else _by_redis(tmp_path, stack, redis_url, certified=certified)
        )

        def send(caller: str, *events: tuple[str, str]) -> int:
            request = pb.DeliverRequest(events=[_event(*each) for each in events])
            answer = carrier(caller).carry(request, seconds=20)
            return int(answer.outcomes[-1].state)

        yield send


def _by_calls(folder: Path, stack: ExitStack, *, certified: bool) -> Callable[[str], Carrier]:
    server = _serving(folder, certified=certified)
    stack.callback(server.stop, 0)

    def carrier(caller: str) -> Carrier:
        certificates = Certificates(folder, MODULES[caller]).client() if certified else None
        peer = Peer(
            server.address,
            services=(),
            process="payments",
            certificates=certificates,
            passports=PASSPORTS,
        )
        stack.callback(peer.close)
        return CallCarrier(EventsServiceStub(peer.channel(caller=caller)))

    return carrier


def _by_redis(
    folder: Path, stack: ExitStack, url: str, *, certified: bool
) -> Callable[[str], Carrier]:
    application = uuid4().hex

    def streams(process: str) -> Streams:
        clock = SystemClock()
        certificates = Certificates(folder, process) if certified else None
        seals = Seals(SECRET, certificates=certificates, clock=clock)
        found = Streams(url, application=application, seals=seals, clock=clock)
        stack.callback(found.close)
        return found

    payments = streams("payments")
    reader = payments.reader("payments", _reception(certified=certified), silent_seconds=0.6)
    reader.start()
    stack.callback(reader.stop)
    until = time.monotonic() + 10
    while not is_read(payments, "payments") and time.monotonic() < until:
        time.sleep(0.005)
    return lambda caller: streams(MODULES[caller]).carrier("payments")


def _reception(*, certified: bool) -> Reception:
    modules = {f"shop.{module}.v1": module for module in MODULES}
    relay = Relay([], [], clock=SystemClock(), doorbell=Doorbell())
    return relay.reception(provenance=Provenance(modules, require_certificate=certified))


def _serving(folder: Path, *, certified: bool) -> Server:
    registry: Any = Registry()
    add_EventsServiceServicer_to_server(
        EventsServicer(_reception(certified=certified)), registry.registrar("portico")
    )
    credentials = Certificates(folder, "payments").server_credentials() if certified else None
    server = Server(credentials=credentials)
    callers = {"portico.v1.EventsService": frozenset(MODULES)}
    server.bind()
    hops = Hops(PASSPORTS, callers, require_certificate=certified)
    server.mount(registry, Policy(commands_need_workflow=True), hops=hops)
    server.start()
    return server


def _event(module: str, kind: str) -> pb.Event:
    return pb.Event(
        id=str(uuid4()),
        module="payments",
        type=kind,
        aggregate_type=module,
        aggregate_id="1",
        occurred_at=Timestamp(seconds=1),
        request_id="r",
        trace_id="1" * 32,
    )


def refused(send: Send, caller: str, *events: tuple[str, str]) -> None:
    with pytest.raises(StatusError) as caught:
        send(caller, *events)
    assert (caught.value.code().name, caught.value.reason) == (
        "PERMISSION_DENIED",
        "EVENT_OF_ANOTHER",
    )


ORDER_PLACED = ("orders", "shop.orders.v1.OrderPlaced")
PRICE_CHANGED = ("catalog", "shop.catalog.v1.PriceChanged")
PAID = ("payments", "shop.payments.v1.PaymentSucceeded")


def test_a_process_sends_the_events_of_all_its_modules(send: Send) -> None:
    assert send("orders", ORDER_PLACED, PRICE_CHANGED) == NOT_HERE  # let in, but nobody reacts


def test_events_whose_package_nobody_owns_may_be_anybodys(send: Send) -> None:
    assert send("orders", ("orders", "google.protobuf.StringValue")) == NOT_HERE


def test_no_module_publishes_the_events_of_another(send: Send) -> None:
    refused(send, "orders", ("orders", "shop.payments.v1.PaymentSucceeded"))
    refused(send, "orders", ORDER_PLACED, ("orders", "shop.catalog.v1.PriceChanged"))


def test_no_process_sends_the_events_of_a_module_that_runs_elsewhere(
    send: Send, certified: bool
) -> None:
    if certified:
        refused(send, "orders", PAID)
        refused(send, "orders", ORDER_PLACED, PAID)
    else:  # nobody can tell: whoever has the secret is believed
        assert send("orders", PAID) == NOT_HERE


def test_over_redis_nobody_answers_for_a_process_but_itself(tmp_path: Path) -> None:
    issue_all(TOPOLOGY, tmp_path, clock=SystemClock())
    clock = SystemClock()

    def box(process: str) -> Box:
        seals = Seals(SECRET, certificates=Certificates(tmp_path, process), clock=clock)
        return Box("shop", "payments", seals, clock)

    answer = pb.DeliverResponse(outcomes=[pb.DeliverResponse.Outcome(state=NOT_HERE)])
    sender, modules = box("shop"), ["payments"]
    genuine = letters.write_answer(box("payments"), "1", answer)
    assert letters.read_answer(sender, "1", genuine, modules=modules) == answer
    forged = letters.write_answer(sender, "1", answer)
    with pytest.raises(UnreachableError, match="no certificate of module payments"):
        letters.read_answer(sender, "1", forged, modules=modules)
    plain = Box("shop", "payments", Seals(SECRET, clock=clock), clock)
    with pytest.raises(UnreachableError, match="cannot be read"):
        letters.read_answer(sender, "1", letters.write_answer(plain, "1", answer), modules=modules)
