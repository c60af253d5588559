"""A module that is turned off says so, whichever way it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from examples.greeter.v1 import greeter_pb2_grpc as stubs

from portico.rpc.disabled import add_disabled
from portico.testing import parity
from portico.testing.cases import Group
from portico.testing.transports import MODULE
from tests.placement.greeting import (
    NO_FUTURES,
    OWN_RULES,
    answered,
    chat,
    gather,
    greeter,
    read,
    repeat,
    say,
    settled,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.testing.cases import Script


def _populate_disabled(registrar: Any) -> None:
    add_disabled(registrar._registry, MODULE, [stubs.add_GreeterServiceServicer_to_server])


disabled = Group(name="disabled modules", populate=_populate_disabled, stay=True, without=OWN_RULES)
GROUPS = [disabled]
SAID = {"code": "UNIMPLEMENTED", "reason": "MODULE_DISABLED", "metadata.module": MODULE}
CALLS: dict[str, Callable[[Any], Any]] = {
    "SayHello": lambda stub: parity.told(lambda: stub.SayHello(say(), timeout=5).message),
    "SayHello.with_call": lambda stub: parity.told(
        lambda: answered(*stub.SayHello.with_call(say(), timeout=5))
    ),
    "Gather": lambda stub: parity.told(lambda: stub.Gather(gather("a"), timeout=5).message),
    "SayHello.future": lambda stub: settled(stub.SayHello.future(say(), timeout=5)),
    "Repeat": lambda stub: read(stub.Repeat(repeat("", 2), timeout=5)),
    "Chat": lambda stub: read(stub.Chat(chat("a"), timeout=5)),
}


def _disabled(call: Callable[[Any], Any]) -> Script:
    return lambda stand: call(greeter(stand))


for name, call in CALLS.items():
    where = {"SayHello.future": "result.", "Repeat": "end.", "Chat": "end."}.get(name, "")
    disabled.add(
        f"{name} says why",
        _disabled(call),
        expects={f"{where}{path}": value for path, value in SAID.items()},
        without=NO_FUTURES if name.endswith("future") else None,
    )
