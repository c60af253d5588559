from __future__ import annotations

from pydantic import BaseModel, ConfigDict, SecretStr

from emporium.app import application
from portico.render.secrets import SecretSetting, secrets_of
from portico.settings import Settings


class Keys(BaseModel):
    model_config = ConfigDict(frozen=True)

    api_key: SecretStr
    spare_key: SecretStr | None = None
    shown: str = ""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True)

    partner: Keys
    limit: int = 1


def test_secrets_are_found_however_deep_and_nothing_else_is() -> None:
    settings = Settings.for_modules({"mail": Section})

    assert secrets_of("mail", settings) == [
        SecretSetting("PORTICO_MAIL__PARTNER__API_KEY", "partner-api-key", is_required=True),
        SecretSetting("PORTICO_MAIL__PARTNER__SPARE_KEY", "partner-spare-key", is_required=False),
    ]


def test_a_module_without_settings_has_no_secrets() -> None:
    assert secrets_of("users", application.settings_class()) == []


def test_every_variable_is_one_that_the_program_reads() -> None:
    settings = application.settings_class()
    known = {row.variable for row in settings.describe()}
    found = [each for module in application.modules for each in secrets_of(module.name, settings)]

    assert {each.variable for each in found} <= known
    assert "PORTICO_PAYMENTS__AURORA__WEBHOOK_SECRET" in {each.variable for each in found}
