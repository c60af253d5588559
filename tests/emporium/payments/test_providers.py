"""How charges reach a provider, and what happens when one is down."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from commerce.payments.v1.events_pb2 import PaymentRefunded, PaymentRequested, PaymentVoided
from pydantic import SecretStr

from emporium.payments.advice import Advice
from emporium.payments.demonstration import WEBHOOK_SECRET, Demonstration
from emporium.payments.module import module
from emporium.payments.providers import ProviderDown, Providers, SimulatedProvider
from emporium.payments.settings import PaymentsSettings, ProviderSettings
from portico.app import Application
from portico.testing.harness import Harness

if TYPE_CHECKING:
    from portico.testing.servers import Databases

MIGRATIONS = Path(__file__).parents[3] / "migrations"

SIMULATED = PaymentsSettings(simulate=True)


def simulated(providers: Providers, name: str) -> SimulatedProvider:
    provider = providers.named(name)
    assert isinstance(provider, SimulatedProvider)
    return provider


def requested(till: Any, payment_id: str) -> PaymentRequested:
    [event] = till.published(PaymentRequested, payment_id)
    assert isinstance(event, PaymentRequested)
    return event


class TestRouting:
    def test_is_the_same_in_every_process(self) -> None:
        one, another = Providers(settings=SIMULATED), Providers(settings=SIMULATED)
        for number in range(50):
            names = [
                [provider.name for provider in each.route(f"pay_{number}", "pm_instant")]
                for each in (one, another)
            ]
            assert names[0] == names[1]
            assert sorted(names[0]) == ["aurora", "borealis"]

    def test_follows_the_weights(self) -> None:
        settings = PaymentsSettings(aurora=ProviderSettings(weight=3), simulate=True)
        providers = Providers(settings=settings)
        firsts = Counter(providers.route(f"pay_{n}", "pm_instant")[0].name for n in range(2000))
        assert 1400 < firsts["aurora"] < 1600

    def test_leaves_a_provider_without_weight_out(self) -> None:
        settings = PaymentsSettings(aurora=ProviderSettings(weight=0), simulate=True)
        providers = Providers(settings=settings)
        assert [each.name for each in providers.route("pay_1", "pm_instant")] == ["borealis"]

    def test_finds_nobody_for_an_unknown_method(self) -> None:
        assert Providers(settings=SIMULATED).route("pay_1", "pm_none") == []


class TestFailover:
    def test_asks_the_other_provider_while_one_is_down(self, till: Any) -> None:
        payment = till.charge(payment_method="pm_instant")
        providers = Providers(settings=SIMULATED)
        simulated(providers, payment.provider).is_down = True
        till.reactions(providers).on_requested(requested(till, payment.payment_id))
        found = till.get(payment.payment_id)
        assert till.status(payment.payment_id) == "SUCCEEDED"
        assert {payment.provider, found.provider} == {"aurora", "borealis"}

    def test_believes_the_webhook_of_the_provider_that_was_asked(self, till: Any) -> None:
        payment = till.charge()
        providers = Providers(settings=SIMULATED)
        simulated(providers, payment.provider).is_down = True
        till.reactions(providers).on_requested(requested(till, payment.payment_id))
        moved = till.get(payment.payment_id)
        assert moved.provider != payment.provider
        till.hear(moved)
        assert till.status(payment.payment_id) == "SUCCEEDED"

    def test_tries_again_later_when_all_are_down(self, till: Any) -> None:
        payment = till.charge(payment_method="pm_instant")
        providers = Providers(settings=SIMULATED)
        for name in ("aurora", "borealis"):
            simulated(providers, name).is_down = True
        reactions, event = till.reactions(providers), requested(till, payment.payment_id)
        with pytest.raises(ProviderDown):
            reactions.on_requested(event)
        assert till.status(payment.payment_id) == "PENDING"
        simulated(providers, "aurora").is_down = False
        reactions.on_requested(event)
        assert till.status(payment.payment_id) == "SUCCEEDED"

    def test_tries_again_later_where_the_method_is_unknown(self, till: Any) -> None:
        """It is known to the process that opened the payment: this one has no right to decline it."""
        for method in ("pm_instant", "pm_declined", "pm_visa_9832"):
            payment = till.charge(payment_method=method)
            event = requested(till, payment.payment_id)
            without_demonstration = till.reactions(Providers(settings=PaymentsSettings()))
            for _ in range(2):
                with pytest.raises(ProviderDown, match="does not know the payment method"):
                    without_demonstration.on_requested(event)
            assert till.get(payment.payment_id) == payment
        till.reactions(Providers(settings=SIMULATED)).on_requested(event)
        assert till.get(payment.payment_id) == payment
        till.hear(payment)
        assert till.status(payment.payment_id) == "SUCCEEDED"

    def test_takes_no_answer_for_an_unknown_method_of_a_payment_that_has_ended(
        self, till: Any
    ) -> None:
        payment = till.charge(payment_method="pm_instant")
        event = requested(till, payment.payment_id)
        till.void(payment.payment_id)
        till.reactions(Providers(settings=PaymentsSettings())).on_requested(event)
        assert till.status(payment.payment_id) == "VOIDED"

    def test_asks_the_same_provider_again_when_nobody_knows_whether_it_heard(
        self, till: Any
    ) -> None:
        payment = till.charge(payment_method="pm_instant")
        providers = Providers(settings=SIMULATED)
        provider = providers._simulated[payment.provider] = Deaf(payment.provider)
        with pytest.raises(TimeoutError):
            till.reactions(providers).on_requested(requested(till, payment.payment_id))
        assert provider.asked == [payment.payment_id]
        assert till.get(payment.payment_id) == payment

    def test_gives_up_asking_when_the_payment_has_ended(self, till: Any) -> None:
        payment = till.charge(payment_method="pm_instant")
        event = requested(till, payment.payment_id)
        till.void(payment.payment_id)
        providers = Providers(settings=SIMULATED)
        provider = providers._simulated[payment.provider] = Deaf(payment.provider)
        till.reactions(providers).on_requested(event)
        assert provider.asked == []


class TestRepeats:
    def test_of_a_charge_count_once(self, till: Any) -> None:
        payment = till.charge(payment_method="pm_instant")
        reactions = till.reactions(Providers(settings=SIMULATED))
        event = requested(till, payment.payment_id)
        reactions.on_requested(event)
        reactions.on_requested(event)
        assert till.accounts(payment.payment_id) == {"PROVIDER": 149_98, "SALES": -149_98}
        assert till.discrepancies(payment.payment_id) == []

    def test_of_a_refund_come_under_the_same_key_and_others_under_others(self, till: Any) -> None:
        payment = till.succeeded()
        till.refund(payment.payment_id, 1_00)
        till.refund(payment.payment_id, 1_00)
        providers = Providers(settings=SIMULATED)
        listening = providers._simulated[payment.provider] = Listening(payment.provider)
        reactions = till.reactions(providers)
        first, second = till.published(PaymentRefunded, payment.payment_id)
        for event in (first, first, second):
            reactions.on_refunded(event)
        assert listening.refunds == {
            f"{payment.payment_id}/100": 1_00,
            f"{payment.payment_id}/200": 1_00,
        }

    def test_of_a_void_reach_the_provider(self, till: Any) -> None:
        payment = till.charge()
        till.void(payment.payment_id)
        providers = Providers(settings=SIMULATED)
        listening = providers._simulated[payment.provider] = Listening(payment.provider)
        [event] = till.published(PaymentVoided, payment.payment_id)
        till.reactions(providers).on_voided(event)
        assert listening.voided == [payment.payment_id]


def test_without_the_demonstration_there_is_no_method_and_no_secret() -> None:
    providers = Providers(settings=PaymentsSettings())
    assert providers.secrets() == {}
    assert providers.route("pay_1", "pm_instant") == []


class TestAdvice:
    WARNING = "no payment can be taken or confirmed"
    SECRET = ProviderSettings(webhook_secret=SecretStr("whsec_of_our_own"))

    def test_names_what_to_set_when_no_payment_can_end(
        self, capfd: pytest.CaptureFixture[str]
    ) -> None:
        settings = PaymentsSettings()
        Advice(providers=Providers(settings=settings), settings=settings).give()
        [line] = capfd.readouterr().err.splitlines()
        found = json.loads(line)
        assert (found["level"], found["event"].partition(":")[0]) == ("warning", self.WARNING)
        assert found["variables"] == [
            "PORTICO_PAYMENTS__AURORA__WEBHOOK_SECRET",
            "PORTICO_PAYMENTS__BOREALIS__WEBHOOK_SECRET",
            "PORTICO_PAYMENTS__SIMULATE",
        ]

    def test_names_variables_that_there_are(self, capfd: pytest.CaptureFixture[str]) -> None:
        settings = PaymentsSettings()
        Advice(providers=Providers(settings=settings), settings=settings).give()
        environment = dict.fromkeys(json.loads(capfd.readouterr().err)["variables"], "whsec_ours")
        environment["PORTICO_PAYMENTS__SIMULATE"] = "true"
        application = Application(name="payments-alone", modules=[module])
        loaded = application.settings_class().load(environment=environment).section("payments")
        assert isinstance(loaded, PaymentsSettings)
        assert len(Providers(settings=loaded).secrets()) == 2
        assert loaded.simulate

    @pytest.mark.parametrize(
        "settings",
        [
            SIMULATED,
            PaymentsSettings(aurora=SECRET),
            PaymentsSettings(borealis=SECRET),
        ],
    )
    def test_is_silent_when_one_is_set(
        self, capfd: pytest.CaptureFixture[str], settings: PaymentsSettings
    ) -> None:
        Advice(providers=Providers(settings=settings), settings=settings).give()
        assert capfd.readouterr().err == ""

    @pytest.mark.parametrize(("demo", "warnings"), [(False, 1), (True, 0)])
    def test_is_given_once_at_start_and_not_in_the_demonstration(
        self,
        databases: Databases,
        capfd: pytest.CaptureFixture[str],
        demo: bool,
        warnings: int,
    ) -> None:
        application = Application(name="payments-alone", modules=[module], migrations=MIGRATIONS)
        url = databases.migrated(["payments"], folder=MIGRATIONS)
        address = url.render_as_string(hide_password=False)
        values: dict[str, Any] = {"database_url": address, "demo": demo}
        with Harness(application, application.settings_class()(**values)):
            pass
        assert capfd.readouterr().err.count(self.WARNING) == warnings


def test_the_demonstration_brings_methods_and_the_published_secret_but_replaces_none() -> None:
    own = ProviderSettings(webhook_secret=SecretStr("whsec_of_our_own"))
    providers = Providers(settings=PaymentsSettings(borealis=own))
    Demonstration(providers=providers).load()
    assert providers.secrets() == {"aurora": WEBHOOK_SECRET, "borealis": "whsec_of_our_own"}
    assert providers.route("pay_1", "pm_visa_9832")


class Deaf(SimulatedProvider):
    """Takes requests in, or not, and never says so."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.asked: list[str] = []

    def charge(self, payment: Any) -> Any:
        self.asked.append(payment.payment_id)
        raise TimeoutError


class Listening(SimulatedProvider):
    """Remembers what it was asked, each key once."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.refunds: dict[str, int] = {}
        self.voided: list[str] = []

    def refund(self, payment: Any, amount: Any, *, key: str) -> None:
        self.refunds[key] = amount.minor

    def void(self, payment: Any) -> None:
        self.voided.append(payment.payment_id)
