"""Settings: read once, before anything starts, and never changed afterwards.

Three sources, the later one wins: the defaults below, one TOML file, the environment. The file is
the one that ``PORTICO_CONFIG`` names, else ``portico.toml`` in the working folder, else the table
``[tool.portico]`` of the working folder's ``pyproject.toml``. A variable is ``PORTICO_`` and the setting's
name in capitals; ``__`` steps into a module's section:

    [auth]                               PORTICO_AUTH__ISSUER=shop.example
    issuer = "shop.example"

A name that no setting has is an error in either source: it is nearly always a misspelling, and a
start that ignored it would run with a default that nobody chose.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, Field, SecretStr, ValidationError, create_model, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from portico._sources import PLAIN_VARIABLES, PREFIX, SettingsError, Sources, variable_of
from portico.resilience.settings import RemoteSettings
from portico.supervise.settings import SupervisedSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SettingRow", "Settings", "SettingsError", "find_app"]


class SettingRow(NamedTuple):
    """One setting, for a reader: a line of ``portico check`` and of the documentation."""

    name: str
    """As in TOML; ``section.name`` inside a section."""
    variable: str
    default: str
    """Empty when there is none."""
    meaning: str


class Settings(BaseSettings):
    """What the kernel can be told. The constructor takes values alone: only ``load`` reads the sources."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        hide_input_in_errors=True,  # it may be a secret
    )

    app: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="the application, `package.module:attribute`",
    )
    profile: Literal["development", "production"] = Field(
        "development", description="production refuses the demonstration and the embedded database"
    )
    demo: bool = Field(default=False, description="load demonstration data and accounts at start")

    topology: Path | None = Field(
        None, description="file that says where each module runs; without it, all in one process"
    )
    process: str = Field("", description="which of the topology's processes this one is")
    addresses: dict[str, str] = Field(
        default_factory=dict,
        description="where to call processes, instead of the topology's addresses; in the environment JSON:"
        ' `{"payments": "127.0.0.1:6001"}`',
    )
    hop_host: str = Field("127.0.0.1", description="address on which other processes call this one")
    hop_port: int | None = Field(
        None, ge=0, le=65535, description="its port, instead of the one in the topology's address"
    )
    hop_threads: int = Field(
        8, ge=1, le=1024, description="calls from other processes that run at once"
    )
    hop_secret: SecretStr | None = Field(
        None,
        min_length=16,
        description="signs what processes tell each other about their callers; the same in all of them",
    )
    certificates: Path | None = Field(
        None,
        description="folder with ca.pem and this process's certificate: calls between processes use TLS",
    )

    grpc_host: str = Field("127.0.0.1", description="address on which gRPC is served")
    grpc_port: int = Field(50051, ge=0, le=65535, description="its port; 0 takes any free one")
    # 8 threads served more calls per second than 4 and than 32 (one core, 2026).
    grpc_threads: int = Field(8, ge=1, le=1024, description="gRPC calls that run at once")
    grpc_patience_ms: int = Field(
        200,
        ge=10,
        le=60_000,
        description="while calls keep waiting for a thread, one that would wait longer is refused",
    )
    http_host: str = Field("127.0.0.1", description="address on which REST is served")
    http_port: int = Field(8080, ge=0, le=65535, description="its port; 0 takes any free one")
    http_threads: int = Field(8, ge=1, le=1024, description="REST requests that run at once")

    remote: RemoteSettings = RemoteSettings()
    supervised: SupervisedSettings = SupervisedSettings()

    database_url: SecretStr | None = Field(
        None, description="Postgres, also DATABASE_URL; without it an embedded one is started"
    )
    database_pool_size: int = Field(
        20, ge=1, le=1000, description="connections that this process may open"
    )
    database_pool_timeout_seconds: float = Field(
        5.0, gt=0, le=60, description="longest wait for a connection"
    )
    events_keep_days: float = Field(
        7.0, gt=0, description="events that have reached everybody are removed after so long"
    )
    inbox_keep_days: float = Field(
        60.0, gt=0, description="notes of what was reacted to; no less than events_keep_days"
    )
    workflow_threads: int = Field(
        2,
        ge=1,
        le=64,
        description="workflow runs that were left half way and are worked on at once; each looks for one every second,"
        " and more than two must be fewer than database_pool_size",
    )
    # An attempt of a step may take 5 s, and begins with two thirds of the lease at the least.
    workflow_lease_seconds: float = Field(
        15.0,
        ge=10,
        le=3600,
        description="a workflow run whose process has not written for so long is taken up by another",
    )
    redis_url: SecretStr | None = Field(
        None,
        description="Redis, also REDIS_URL; needed by a topology whose events go from process to process by it",
    )
    data_folder: Path = Field(
        Path(".portico"), description="where the embedded database keeps its files"
    )
    guard: bool = Field(default=True, description="refuse SQL that touches another module's schema")

    default_timeout_seconds: float = Field(
        10.0, gt=0, le=3600, description="deadline of a call whose caller set none"
    )
    max_message_bytes: int = Field(
        4 * 1024**2, ge=1024, description="largest gRPC message, either way"
    )
    max_body_bytes: int = Field(1024**2, ge=1024, description="largest body of a REST request")
    drain_seconds: float = Field(
        10.0, ge=0, le=600, description="time that running calls get to finish at stop"
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least level that is logged"
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="auto is text on a terminal and JSON lines elsewhere"
    )

    otlp_endpoint: str | None = Field(
        None,
        pattern=r"^https?://\S+$",
        description="collector of traces, OTLP over HTTP, such as http://127.0.0.1:4318",
    )
    trace_file: Path | None = Field(
        None,
        description="file to which spans are appended as JSON lines; without a suffix a folder,"
        " with a file for each process",
    )
    trace_ratio: float = Field(
        1.0, ge=0, le=1, description="share of the traces beginning here that are recorded"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Leave only the constructor's own values: what a test passes is all there is."""
        return (init_settings,)

    @classmethod
    def for_modules(cls, sections: Mapping[str, type[BaseModel]]) -> type[Self]:
        """These settings with one section per module, such as ``{"payments": PaymentsSettings}``.

        Raises ValueError when a section is not frozen or has the name of a kernel setting.
        """
        for name, section in sections.items():
            if name in cls.model_fields:
                raise ValueError(f"no module can be called {name}: a setting has that name")
            if not section.model_config.get("frozen"):
                raise ValueError(
                    f"{section.__name__}, the settings of module {name}, must be frozen"
                )
        fields: dict[str, Any] = {name: (section, ...) for name, section in sections.items()}
        return create_model(cls.__name__, __base__=cls, **fields)

    @classmethod
    def load(
        cls,
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        chosen: Mapping[str, object] | None = None,
    ) -> Self:
        """Read every source: by default the environment of the process and the working folder.

        What is ``chosen``, such as on a command line, comes before all of them.
        Raises SettingsError that names every missing, misspelt or unusable setting, one a line.
        """
        sources = _sources(environment, folder)
        sources.refuse_unknown(cls)
        try:
            return cls(**sources.merged(cls) | dict(chosen or {}))
        except ValidationError as failure:
            raise SettingsError(
                "\n".join(
                    _complaint(error["type"], error["loc"], error["msg"])
                    for error in failure.errors()
                )
            ) from None

    @model_validator(mode="before")
    @classmethod
    def _open_sections(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Start the sections that nobody mentioned, so that their own defaults and demands apply."""
        return {name: {} for name in _sections(cls)} | values

    @model_validator(mode="after")
    def _keep_demonstration_out_of_production(self) -> Self:
        if self.demo and self.profile == "production":
            raise ValueError(
                "demo is refused in the production profile: its passwords are published"
            )
        return self

    @model_validator(mode="after")
    def _leave_connections_to_calls(self) -> Self:
        most = max(self.database_pool_size - 1, type(self).model_fields["workflow_threads"].default)
        if self.workflow_threads > most:
            raise ValueError(
                f"workflow_threads ({self.workflow_threads}) must be fewer than database_pool_size"
                f" ({self.database_pool_size}): else recovery may hold every connection, and calls get none"
            )
        return self

    @model_validator(mode="after")
    def _remember_events_as_long_as_they_may_come(self) -> Self:
        if self.inbox_keep_days < self.events_keep_days:
            raise ValueError(
                "inbox_keep_days is less than events_keep_days: events could come again that are forgotten"
            )
        return self

    def section(self, name: str) -> BaseModel:
        """The section of module ``name``. Raises KeyError when the module has none."""
        if name not in _sections(type(self)):
            raise KeyError(name)
        section: BaseModel = getattr(self, name)
        return section

    def postgres_url(self) -> str | None:
        """The database's address with its password; None means: start the embedded one.

        Raises SettingsError in the production profile, where the embedded one is refused.
        """
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        if self.profile == "production":
            raise SettingsError(
                f"database_url is required in the production profile: set {PREFIX}DATABASE_URL"
            )
        return None

    @classmethod
    def describe(cls) -> list[SettingRow]:
        """Every setting in the order of declaration, the modules' sections last."""
        return _rows(cls, ())


def find_app(*, environment: Mapping[str, str] | None = None, folder: Path | None = None) -> str:
    """The setting ``app`` alone, which must be known before the modules and so the sections are.

    A ``portico.toml`` that does not say leaves it to ``pyproject.toml``.
    Raises SettingsError when no source has it or when it is not ``package.module:attribute``.
    """
    sources = _sources(environment, folder)
    app = sources.merged(Settings).get("app") or sources.project.get("app")
    try:
        found = Settings(app=app).app
    except ValidationError:
        raise SettingsError(f"app must look like `package.module:attribute`, not {app!r}") from None
    if found is None:
        raise SettingsError(f"app is required: --app, {PREFIX}APP, or app in portico.toml")
    return found


def inherited_environment() -> dict[str, str]:
    """The environment of this process, for one that it starts."""
    return dict(os.environ)


def environment_without_settings() -> dict[str, str]:
    """The same for a process whose settings shall be those of its working folder alone."""
    return {
        name: value
        for name, value in inherited_environment().items()
        if not name.startswith(PREFIX) and name not in PLAIN_VARIABLES
    }


def _sources(environment: Mapping[str, str] | None, folder: Path | None) -> Sources:
    return Sources.read(os.environ if environment is None else environment, folder or Path.cwd())


def _complaint(kind: str, path: tuple[int | str, ...], message: str) -> str:
    if not path:  # a rule about several settings, which names them itself
        return message.removeprefix("Value error, ")
    name = ".".join(map(str, path))
    if kind == "missing":
        return f"{name} is required: set {variable_of(path)}, or {name} in portico.toml"
    return f"{name} ({variable_of(path)}): {message}"


def _sections(settings: type[BaseModel]) -> dict[str, type[BaseModel]]:
    return {
        name: field.annotation
        for name, field in settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def _rows(model: type[BaseModel], path: tuple[str, ...]) -> list[SettingRow]:
    rows: list[SettingRow] = []
    sections = _sections(model)
    for name, field in model.model_fields.items():
        here = (*path, name)
        if name in sections:
            rows += _rows(sections[name], here)
            continue
        default = (
            ""
            if field.is_required()
            else field.get_default(call_default_factory=True, validated_data={})
        )
        rows.append(
            SettingRow(
                ".".join(here),
                variable_of(here),
                "" if default is None else str(default),
                field.description or "",
            )
        )
    return rows
