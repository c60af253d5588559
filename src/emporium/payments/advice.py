"""What whoever starts the shop should know about its payments."""

from __future__ import annotations

from emporium.payments.providers import Providers
from emporium.payments.settings import PaymentsSettings
from portico.telemetry import logs

_SECTION = "PORTICO_PAYMENTS__"

_log = logs.logger("emporium.payments")


class Advice:
    """Warns of a shop that cannot be paid."""

    def __init__(self, *, providers: Providers, settings: PaymentsSettings) -> None:
        self._providers = providers
        self._settings = settings

    def give(self) -> None:
        """Name the variables to set when nothing is simulated and no provider would be believed."""
        if self._settings.simulate or self._providers.secrets():
            return
        secrets = [f"{_SECTION}{name.upper()}__WEBHOOK_SECRET" for name in self._providers.names]
        _log.warning(
            "no payment can be taken or confirmed: nothing is simulated and no provider has a"
            " webhook secret",
            variables=[*secrets, f"{_SECTION}SIMULATE"],
        )
