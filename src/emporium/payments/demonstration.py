"""Payment methods for the demonstration, and the secret of its webhooks."""

from __future__ import annotations

from emporium.payments.providers import Providers

WEBHOOK_SECRET = "whsec_demo"  # noqa: S105  # published: whoever reads this may confirm a demonstration's payments


class Demonstration:
    """Switches the simulation on, in this process alone: nothing of it is stored."""

    def __init__(self, *, providers: Providers) -> None:
        self._providers = providers

    def load(self) -> None:
        """Accept the simulated methods, and the published secret where no other is set."""
        self._providers.simulate(webhook_secret=WEBHOOK_SECRET)
