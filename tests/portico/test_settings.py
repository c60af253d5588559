from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, Field, SecretStr, ValidationError

from portico.settings import Settings, SettingsError, find_app


class Provider(BaseModel, frozen=True):
    webhook_secret: SecretStr


class PaymentsSettings(BaseModel, frozen=True):
    webhook_secret: SecretStr = Field(description="signs what providers send")
    currencies: list[str] = ["USD"]
    providers: dict[str, Provider] = {}


class AuthSettings(BaseModel, frozen=True):
    lockout_seconds: float = 60.0


SECTIONS: dict[str, type[BaseModel]] = {"payments": PaymentsSettings, "auth": AuthSettings}
SECRET = {"PORTICO_PAYMENTS__WEBHOOK_SECRET": "whsec_test"}


def load(folder: Path, toml: str = "", **environment: str) -> Settings:
    (folder / "portico.toml").write_text(toml)
    return Settings.for_modules(SECTIONS).load(environment=environment, folder=folder)


def refusal(folder: Path, toml: str = "", **environment: str) -> str:
    with pytest.raises(SettingsError) as refused:
        load(folder, toml, **environment)
    return str(refused.value)


def payments(settings: Settings) -> PaymentsSettings:
    section = settings.section("payments")
    assert isinstance(section, PaymentsSettings)
    return section


def test_defaults_serve_on_the_documented_ports(tmp_path: Path) -> None:
    settings = Settings.load(environment={}, folder=tmp_path)
    assert (settings.grpc_host, settings.grpc_port) == ("127.0.0.1", 50051)
    assert (settings.http_host, settings.http_port) == ("127.0.0.1", 8080)
    assert not settings.demo


def test_the_file_overrides_defaults_and_the_environment_overrides_the_file(tmp_path: Path) -> None:
    toml = "grpc_port = 1\nhttp_port = 2\n[payments]\nwebhook_secret = 'a'\ncurrencies = ['EUR']"
    settings = load(tmp_path, toml, PORTICO_HTTP_PORT="3", PORTICO_PAYMENTS__WEBHOOK_SECRET="b")
    assert (settings.grpc_port, settings.http_port) == (1, 3)
    assert payments(settings).webhook_secret.get_secret_value() == "b"
    assert payments(settings).currencies == ["EUR"]


def test_the_constructor_reads_no_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PORTICO_GRPC_PORT", "7")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "portico.toml").write_text("http_port = 7")
    assert (Settings().grpc_port, Settings().http_port) == (50051, 8080)


def test_load_reads_the_process_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PORTICO_GRPC_PORT", "7")
    monkeypatch.chdir(tmp_path)
    assert Settings.load().grpc_port == 7


def test_what_is_chosen_on_a_command_line_comes_first(tmp_path: Path) -> None:
    settings = Settings.load(
        environment={"PORTICO_DEMO": "false"}, folder=tmp_path, chosen={"demo": True}
    )
    assert settings.demo


class TestSources:
    def test_a_named_file_comes_before_the_one_in_the_folder(self, tmp_path: Path) -> None:
        (tmp_path / "other.toml").write_text("grpc_port = 9\npayments.webhook_secret = 'x'")
        assert load(tmp_path, "grpc_port = 1", PORTICO_CONFIG="other.toml").grpc_port == 9

    def test_a_named_file_must_exist(self, tmp_path: Path) -> None:
        assert "PORTICO_CONFIG=gone.toml" in refusal(tmp_path, PORTICO_CONFIG="gone.toml")

    def test_pyproject_is_read_when_there_is_no_file_of_our_own(self, tmp_path: Path) -> None:
        (tmp_path / "pyproject.toml").write_text(
            "[tool.portico]\ngrpc_port = 5\n[tool.other]\nx = 1"
        )
        assert Settings.load(environment={}, folder=tmp_path).grpc_port == 5
        (tmp_path / "portico.toml").write_text("http_port = 6")
        settings = Settings.load(environment={}, folder=tmp_path)
        assert (settings.grpc_port, settings.http_port) == (50051, 6)

    def test_a_broken_file_is_named_with_the_place(self, tmp_path: Path) -> None:
        text = refusal(tmp_path, "grpc_port = x\n")
        assert "portico.toml is not TOML" in text
        assert "line 1" in text

    def test_nested_tables_are_reached_by_double_underscores(self, tmp_path: Path) -> None:
        settings = load(tmp_path, **SECRET, PORTICO_PAYMENTS__PROVIDERS__ALPHA__WEBHOOK_SECRET="s1")
        assert payments(settings).providers["alpha"].webhook_secret.get_secret_value() == "s1"

    def test_a_list_is_json(self, tmp_path: Path) -> None:
        settings = load(tmp_path, **SECRET, PORTICO_PAYMENTS__CURRENCIES='["EUR","USD"]')
        assert payments(settings).currencies == ["EUR", "USD"]
        text = refusal(tmp_path, **SECRET, PORTICO_PAYMENTS__CURRENCIES='["EUR"')
        assert text.startswith("PORTICO_PAYMENTS__CURRENCIES is not JSON")

    def test_an_empty_variable_counts_as_absent(self, tmp_path: Path) -> None:
        assert load(tmp_path, **SECRET, PORTICO_GRPC_PORT="", DATABASE_URL="").grpc_port == 50051

    def test_plain_database_url_is_read_and_our_own_wins(self, tmp_path: Path) -> None:
        plain = {**SECRET, "DATABASE_URL": "postgresql://plain", "REDIS_URL": "redis://plain"}
        settings = load(tmp_path, **plain)
        assert settings.postgres_url() == "postgresql://plain"
        assert settings.redis_url is not None
        both = load(tmp_path, **plain, PORTICO_DATABASE_URL="postgresql://own")
        assert both.postgres_url() == "postgresql://own"


class TestRefusals:
    def test_a_missing_setting_is_named_with_its_variable(self, tmp_path: Path) -> None:
        text = refusal(tmp_path)
        assert "payments.webhook_secret is required" in text
        assert "PORTICO_PAYMENTS__WEBHOOK_SECRET" in text

    @pytest.mark.parametrize(
        ("variable", "nearest"),
        [
            ("PORTICO_GRPC_PROT", "PORTICO_GRPC_PORT"),
            ("PORTICO_PAYMENT__WEBHOOK_SECRET", "PORTICO_PAYMENTS__WEBHOOK_SECRET"),
            ("PORTICO_PAYMENTS__WEBHOK_SECRET", "PORTICO_PAYMENTS__WEBHOOK_SECRET"),
            (
                "PORTICO_PAYMENTS__PROVIDERS__ALPHA__WEBHOOK_SECRT",
                "PORTICO_PAYMENTS__PROVIDERS__ALPHA__WEBHOOK_SECRET",
            ),
        ],
    )
    def test_a_misspelt_variable_is_named_with_the_nearest(
        self, tmp_path: Path, variable: str, nearest: str
    ) -> None:
        text = refusal(tmp_path, **SECRET, **{variable: "1"})
        assert text == f"{variable} in the environment is not a setting; did you mean {nearest}?"

    @pytest.mark.parametrize("variable", ["PORTICO_GRPC_PORT__X", "PORTICO_", "PORTICO_ZZZZZZ"])
    def test_a_variable_like_nothing_is_named_alone(self, tmp_path: Path, variable: str) -> None:
        text = refusal(tmp_path, **SECRET, **{variable: "1"})
        assert text == f"{variable} in the environment is not a setting"

    @pytest.mark.parametrize(
        ("toml", "key", "nearest"),
        [
            ("grpc_prot = 1", "grpc_prot", "grpc_port"),
            ("[paymets]\nwebhook_secret = 'x'", "paymets", "payments"),
            (
                "[payments]\nwebhok_secret = 'x'",
                "payments.webhok_secret",
                "payments.webhook_secret",
            ),
            (
                "[payments.providers.a]\nwebhook_secre = 'x'",
                "payments.providers.a.webhook_secre",
                "payments.providers.a.webhook_secret",
            ),
        ],
    )
    def test_a_misspelt_key_is_named_with_the_nearest(
        self, tmp_path: Path, toml: str, key: str, nearest: str
    ) -> None:
        text = refusal(tmp_path, toml, **SECRET)
        assert text == f"{key} in portico.toml is not a setting; did you mean {nearest}?"

    def test_every_mistake_is_told_at_once(self, tmp_path: Path) -> None:
        text = refusal(tmp_path, "drain_second = 1\n[auht]\nx = 1", PORTICO_GRPC_PROT="1")
        assert [line.partition(" ")[0] for line in text.splitlines()] == [
            "PORTICO_GRPC_PROT",
            "drain_second",
            "auht",
        ]

    def test_an_unusable_value_is_named_but_not_shown(self, tmp_path: Path) -> None:
        text = refusal(tmp_path, **SECRET, PORTICO_GRPC_PORT="hunter2")
        assert text.startswith("grpc_port (PORTICO_GRPC_PORT): ")
        assert "hunter2" not in text
        assert "65535" in refusal(tmp_path, **SECRET, PORTICO_GRPC_PORT="70000")

    def test_the_demonstration_is_refused_in_production(self, tmp_path: Path) -> None:
        text = refusal(tmp_path, **SECRET, PORTICO_DEMO="true", PORTICO_PROFILE="production")
        assert text.startswith("demo is refused in the production profile")

    def test_the_embedded_database_is_refused_in_production(self) -> None:
        assert Settings().postgres_url() is None
        with pytest.raises(SettingsError, match="database_url is required in the production"):
            Settings(profile="production").postgres_url()

    def test_a_section_must_be_frozen(self) -> None:
        class Loose(BaseModel):
            x: int = 1

        with pytest.raises(ValueError, match="Loose, the settings of module shop, must be frozen"):
            Settings.for_modules({"shop": Loose})

    def test_a_module_cannot_have_the_name_of_a_setting(self) -> None:
        with pytest.raises(ValueError, match="no module can be called demo"):
            Settings.for_modules({"demo": AuthSettings})

    def test_a_module_without_settings_has_no_section(self, tmp_path: Path) -> None:
        with pytest.raises(KeyError, match="catalog"):
            load(tmp_path, **SECRET).section("catalog")


def test_settings_never_change(tmp_path: Path) -> None:
    settings = load(tmp_path, **SECRET)
    with pytest.raises(ValidationError, match="frozen"):
        settings.grpc_port = 1  # type: ignore[misc]  # that is the point
    with pytest.raises(ValidationError, match="frozen"):
        payments(settings).currencies = []  # type: ignore[misc]  # so is this


def test_secrets_never_print(tmp_path: Path) -> None:
    settings = load(tmp_path, **SECRET, DATABASE_URL="postgresql://u:hunter2@h/d")
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert "whsec_test" not in shown
        assert "hunter2" not in shown


def test_the_description_has_a_line_for_every_setting() -> None:
    rows = {row.name: row for row in Settings.for_modules(SECTIONS).describe()}
    assert rows["grpc_port"].variable == "PORTICO_GRPC_PORT"
    assert rows["grpc_port"].default == "50051"
    assert rows["payments.webhook_secret"].variable == "PORTICO_PAYMENTS__WEBHOOK_SECRET"
    assert rows["payments.webhook_secret"].meaning == "signs what providers send"
    assert all(row.meaning for row in Settings.describe())


class TestApp:
    def test_the_app_is_found_before_its_sections_are_known(self, tmp_path: Path) -> None:
        (tmp_path / "pyproject.toml").write_text(
            "[tool.portico]\napp = 'shop.app:application'\n[tool.portico.payments]\nx = 1"
        )
        assert find_app(environment={}, folder=tmp_path) == "shop.app:application"
        environment = {"PORTICO_APP": "other:app", "PORTICO_PAYMENTS__X": "2"}
        assert find_app(environment=environment, folder=tmp_path) == "other:app"

    def test_no_app_is_an_error_that_says_where_to_put_it(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="app is required: --app, PORTICO_APP"):
            find_app(environment={}, folder=tmp_path)

    def test_a_file_that_does_not_say_leaves_it_to_the_project(self, tmp_path: Path) -> None:
        (tmp_path / "pyproject.toml").write_text('[tool.portico]\napp = "shop.app:application"\n')
        (tmp_path / "portico.toml").write_text("grpc_port = 0\n")

        assert find_app(environment={}, folder=tmp_path) == "shop.app:application"
        (tmp_path / "portico.toml").write_text('app = "other.app:application"\n')
        assert find_app(environment={}, folder=tmp_path) == "other.app:application"

    @pytest.mark.parametrize("app", ["shop", "shop.app:", ":application", "shop app:x", "a:b:c"])
    def test_an_app_that_is_no_path_is_refused(self, tmp_path: Path, app: str) -> None:
        with pytest.raises(SettingsError, match=r"must look like `package\.module:attribute`"):
            find_app(environment={"PORTICO_APP": app}, folder=tmp_path)


def test_the_variables_of_a_kubernetes_service_called_portico_are_none_of_ours() -> None:
    links = {
        "PORTICO_SERVICE_HOST": "10.0.0.7",
        "PORTICO_SERVICE_PORT": "8080",
        "PORTICO_SERVICE_PORT_GRPC": "50051",
        "PORTICO_PORT": "tcp://10.0.0.7:8080",
        "PORTICO_PORT_8080_TCP": "tcp://10.0.0.7:8080",
        "PORTICO_PORT_8080_TCP_ADDR": "10.0.0.7",
    }
    assert Settings.load(environment=links) == Settings.load(environment={})


def test_a_port_that_is_no_service_link_is_still_a_misspelling() -> None:
    with pytest.raises(SettingsError, match="PORTICO_PORT"):
        Settings.load(environment={"PORTICO_PORT": "8081"})


@pytest.mark.parametrize("name", ["enabled_modules", "processes", "edges"])
def test_what_belongs_in_a_topology_is_sent_there(tmp_path: Path, name: str) -> None:
    (tmp_path / "portico.toml").write_text(f"[{name}]\npayments = false\n")

    with pytest.raises(SettingsError, match=f"{name} in portico.toml .* topology file"):
        Settings.load(environment={}, folder=tmp_path)
    with pytest.raises(SettingsError, match="belongs in a topology file"):
        Settings.load(environment={f"PORTICO_{name.upper()}": "{}"}, folder=tmp_path / "nowhere")
