"""The use cases of orders that change other modules too."""

from __future__ import annotations

from emporium.orders.workflows.cancel import Cancelling, CancelOrder
from emporium.orders.workflows.place import PlaceOrder, Placing
from emporium.orders.workflows.refund import Refunding, RefundOrder

__all__ = ["CancelOrder", "Cancelling", "PlaceOrder", "Placing", "RefundOrder", "Refunding"]
