"""Giving back money that came for an order after its end."""

from __future__ import annotations

from dataclasses import dataclass

from commerce.payments.v1.payments_service_pb2_grpc import PaymentsServiceStub

from emporium.orders.workflows import money
from portico.workflow import Step, Workflow, Workflows


@dataclass
class Refunding:
    """The state of ``orders.refund_order``: plain data; ``amount`` in minor units."""

    order_id: str
    payment_id: str
    amount: int
    currency: str


class RefundOrder:
    """``orders.refund_order``: all that was taken for a cancelled order goes back, once."""

    def __init__(self, *, workflows: Workflows, payments: PaymentsServiceStub) -> None:
        self._workflows = workflows
        self._payments = payments
        workflow = Workflow(
            name="orders.refund_order",
            version=1,
            steps=[Step("payment", self._refund, at=PaymentsServiceStub)],
            subject=lambda state: state.order_id,
        )
        self.workflow = workflows.define(workflow, state=Refunding)

    def run(self, state: Refunding) -> None:
        """Ask payments for the refund."""
        self._workflows.run(self.workflow, state, key=f"{state.order_id}/refund")

    def _refund(self, state: Refunding) -> None:
        money.refund(
            self._payments,
            payment_id=state.payment_id,
            order_id=state.order_id,
            amount=state.amount,
            currency=state.currency,
        )
