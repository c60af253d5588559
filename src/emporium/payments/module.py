"""The module payments: what it provides, and how it is put together."""

from __future__ import annotations

import punq
from commerce.payments.v1.payments_service_pb2_grpc import add_PaymentsServiceServicer_to_server

from emporium.payments.advice import Advice
from emporium.payments.cashier import Cashier
from emporium.payments.demonstration import Demonstration
from emporium.payments.providers import Providers
from emporium.payments.reactions import ProviderReactions
from emporium.payments.service import PaymentsService
from emporium.payments.settings import PaymentsSettings
from portico.module import Module


def _wire(container: punq.Container) -> None:
    container.register(Cashier)
    container.register(
        Providers, scope=punq.Scope.singleton
    )  # the demonstration switches it on for all


module = Module(
    name="payments",
    provides={add_PaymentsServiceServicer_to_server: PaymentsService},
    reactions=(ProviderReactions,),
    settings=PaymentsSettings,
    owns_data=True,
    wire=_wire,
    demonstration=Demonstration,
    advice=Advice,
)
