"""Payment providers: what is asked of one, the simulated ones, and which one gets which payment."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Protocol

from emporium.payments.model import Outcome
from emporium.payments.settings import PaymentsSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from emporium.payments.model import Money, Payment

METHODS: Mapping[str, Outcome | None] = {
    "pm_visa_9832": None,
    "pm_instant": Outcome.SUCCESS,
    "pm_declined": Outcome.FAILED,
}
"""The simulated payment methods and how they end; None: only the webhook will tell."""


class ProviderDown(Exception):  # noqa: N818  # the name of a state, not of a fault of ours
    """The provider did not take the request in, now; another one may be asked, or the same one later.

    A provider that may have taken it in must raise anything else: then the same one is asked again.
    """


class Provider(Protocol):
    """A payment provider. Every request may come again under the same key and must count once."""

    name: str

    def knows(self, payment_method: str) -> bool:
        """Whether it can charge this; answered without asking anybody."""
        ...

    def charge(self, payment: Payment) -> Outcome | None:
        """Take the money, under the payment_id as key; None when it will tell later. May raise ProviderDown."""
        ...

    def void(self, payment: Payment) -> None:
        """Take no money for the payment_id, and give back what was taken. May raise ProviderDown."""
        ...

    def refund(self, payment: Payment, amount: Money, *, key: str) -> None:
        """Give ``amount`` of the payment back, under ``key``. May raise ProviderDown."""
        ...


class SimulatedProvider:
    """Ends every payment as its method says, and moves no money. It needs no memory to count a key once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.methods: Mapping[str, Outcome | None] = {}
        self.is_down = False

    def knows(self, payment_method: str) -> bool:
        """Whether the method is one of those that are simulated."""
        return payment_method in self.methods

    def charge(self, payment: Payment) -> Outcome | None:
        """What the method stands for.

        Unknown here, it is known to the process that opened the payment: nothing was taken and nothing
        declined, so that one, or this one when it is set up alike, is to ask again.
        """
        self._answer()
        if not self.knows(payment.payment_method):
            raise ProviderDown(f"{self.name} does not know the payment method in this process")
        return self.methods[payment.payment_method]

    def void(self, payment: Payment) -> None:
        """Nothing to do."""
        self._answer()

    def refund(self, payment: Payment, amount: Money, *, key: str) -> None:
        """Nothing to do."""
        self._answer()

    def _answer(self) -> None:
        if self.is_down:
            raise ProviderDown(f"{self.name} does not answer")


class Providers:
    """All providers of this process, each with its weight and its secret."""

    def __init__(self, *, settings: PaymentsSettings) -> None:
        self._settings = {"aurora": settings.aurora, "borealis": settings.borealis}
        self._simulated = {name: SimulatedProvider(name) for name in self._settings}
        self._published_secret: str | None = None
        if settings.simulate:
            self._know_methods()

    def simulate(self, *, webhook_secret: str) -> None:
        """For the demonstration: accept its payment methods, and its secret where no other is set."""
        self._published_secret = webhook_secret
        self._know_methods()

    @property
    def names(self) -> tuple[str, ...]:
        """Of all providers, in no order of rank."""
        return tuple(self._settings)

    def named(self, name: str) -> Provider:
        """The provider of this name. Raises KeyError."""
        return self._simulated[name]

    def secrets(self) -> dict[str, str]:
        """What each provider signs its webhooks with; a provider without a secret is not believed."""
        found = {
            name: settings.webhook_secret.get_secret_value()
            if settings.webhook_secret
            else self._published_secret
            for name, settings in self._settings.items()
        }
        return {name: secret for name, secret in found.items() if secret}

    def route(self, payment_id: str, payment_method: str) -> Sequence[Provider]:
        """The providers that know the method, the one to ask first at the front; none: nobody knows it.

        The same for every process and every time, and in proportion to the weights (rendezvous
        hashing, Mosharaf and others): when one is added or removed, only its own payments move.
        """
        able = [
            (_score(payment_id, name, self._settings[name].weight), name)
            for name, provider in self._simulated.items()
            if self._settings[name].weight and provider.knows(payment_method)
        ]
        return [self._simulated[name] for _, name in sorted(able, reverse=True)]

    def _know_methods(self) -> None:
        for provider in self._simulated.values():
            provider.methods = METHODS


def _score(payment_id: str, name: str, weight: int) -> float:
    digest = hashlib.sha256(f"{name}\0{payment_id}".encode()).digest()
    uniform = (int.from_bytes(digest[:8]) + 1) / (2**64 + 2)  # between 0 and 1, neither included
    return weight / -math.log(uniform)
