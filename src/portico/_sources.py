"""Where settings are written down: one TOML table and the environment, and what in them nobody reads."""

from __future__ import annotations

import difflib
import re
import tomllib
from typing import TYPE_CHECKING, Any, NamedTuple, Self, get_args, get_origin

from pydantic import BaseModel
from pydantic_settings import BaseSettings, EnvSettingsSource
from pydantic_settings import SettingsError as UnreadableValueError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

PREFIX = "PORTICO_"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"
_SEPARATOR = "__"

# Names that hosting platforms set by themselves; our own spelling wins when both are present.
PLAIN_VARIABLES = {"DATABASE_URL": "database_url", "REDIS_URL": "redis_url"}


# What Kubernetes tells every container of a namespace that has a service called portico.
_SERVICE_LINK = re.compile(
    r"PORTICO_SERVICE_(HOST|PORT(_\w+)?)=.*|PORTICO_PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?=\w+://.*"
    r"|PORTICO_PORT_\d+_(TCP|UDP|SCTP)_(ADDR|PORT|PROTO)=.*"
)


_OF_A_TOPOLOGY = frozenset({"edges", "enabled_modules", "processes"})


class SettingsError(Exception):
    """The program must not start with these settings; the text names each culprit on its own line."""


def variable_of(path: Sequence[object]) -> str:
    """The environment variable of the setting at ``path``, such as ``("payments", "webhook_secret")``."""
    return PREFIX + _SEPARATOR.join(str(name).upper() for name in path)


class Sources(NamedTuple):
    """The raw material of settings, before anything is checked."""

    environment: Mapping[str, str]
    table: dict[str, Any]
    table_name: str
    """What to call the table in a message; empty when there is none."""
    project: Mapping[str, Any] = {}
    """The table of the working folder's ``pyproject.toml``, also where another file comes before it."""

    @classmethod
    def read(cls, environment: Mapping[str, str], folder: Path) -> Self:
        """Find the TOML table that applies in ``folder``. Raises SettingsError when it cannot be read."""
        project = _project(folder / "pyproject.toml")
        named = environment.get(CONFIG_VARIABLE)
        if named:
            table = _toml(folder / named, f"{CONFIG_VARIABLE}={named}")
            return cls(environment, table, named, project)
        if (path := folder / "portico.toml").is_file():
            return cls(environment, _toml(path, path.name), path.name, project)
        if project:
            return cls(environment, project, "[tool.portico] of pyproject.toml", project)
        return cls(environment, {}, "")

    def merged(self, settings: type[BaseSettings]) -> dict[str, Any]:
        """Values by setting, the environment over the table. Raises SettingsError on a broken list or table."""
        try:
            over = _Environment(settings, self.environment)()
        except UnreadableValueError:
            raise SettingsError("\n".join(self._unreadable(settings))) from None
        plain = {
            name: value
            for variable, name in PLAIN_VARIABLES.items()
            if name in settings.model_fields and (value := self.environment.get(variable))
        }
        return _merge(self.table, plain | over)

    def refuse_unknown(self, settings: type[BaseModel]) -> None:
        """Raise SettingsError that names every key and variable that is no setting, and the nearest one."""
        wrong = [*self._unknown_variables(settings), *self._unknown_keys(settings, self.table, ())]
        if wrong:
            raise SettingsError("\n".join(wrong))

    def _unreadable(self, settings: type[BaseSettings]) -> Iterator[str]:
        for variable, value in sorted(self.environment.items()):
            try:
                _Environment(settings, {variable: value})()
            except UnreadableValueError as failure:
                yield f"{variable} is not JSON: {failure.__cause__}"

    def _unknown_variables(self, settings: type[BaseModel]) -> Iterator[str]:
        for variable in sorted(self.environment):
            name = variable.upper()
            if not name.startswith(PREFIX) or name == CONFIG_VARIABLE:
                continue
            if _SERVICE_LINK.fullmatch(f"{name}={self.environment[variable]}"):
                continue
            path = variable[len(PREFIX) :].lower().split(_SEPARATOR)
            if (stop := _first_unknown(settings, path)) is not None:
                nearest = _nearest(path[stop.depth], stop.known)
                hint = (
                    variable_of([*path[: stop.depth], nearest, *path[stop.depth + 1 :]])
                    if nearest
                    else ""
                )
                yield _unknown(variable, "the environment", hint)

    def _unknown_keys(
        self, settings: type[BaseModel], table: dict[str, Any], path: tuple[str, ...]
    ) -> Iterator[str]:
        for key, value in table.items():
            here = (*path, key)
            if (stop := _first_unknown(settings, here)) is not None:
                nearest = _nearest(key, stop.known)
                yield _unknown(
                    ".".join(here), self.table_name, ".".join((*path, nearest)) if nearest else ""
                )
            elif isinstance(value, dict):
                yield from self._unknown_keys(settings, value, here)


class _Environment(EnvSettingsSource):
    """pydantic's own reading of variables, over a mapping that is given instead of the process's."""

    def __init__(self, settings: type[BaseSettings], environment: Mapping[str, str]) -> None:
        self._given = {name.lower(): value for name, value in environment.items() if value}
        super().__init__(settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._given


class _Unknown(NamedTuple):
    depth: int
    """Index of the first name of the path that is not known."""
    known: list[str]
    """What could have stood there."""


def _first_unknown(kind: object, path: Sequence[str]) -> _Unknown | None:
    for depth, name in enumerate(path):
        fields = _fields(kind)
        if fields is None:
            return None
        if name not in fields and "*" not in fields:
            return _Unknown(depth, [*fields])
        kind = fields.get(name, fields.get("*"))
    return None


def _fields(kind: object) -> dict[str, object] | None:
    """What may stand below a value of this type: names, ``*`` for any name; None when that is not ours to say."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    if kind is Any or kind is dict:
        return None
    if get_origin(kind) is dict:
        return {"*": get_args(kind)[1]}
    below: dict[str, object] = {}
    for option in get_args(
        kind
    ):  # the options of a union; a plain value has none and nothing below
        below |= _fields(option) or {}
    return below


def _nearest(name: str, known: Sequence[str]) -> str:
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.6)), "")


def _project(path: Path) -> dict[str, Any]:
    """The table ``[tool.portico]`` of a project; empty without one."""
    if not path.is_file():
        return {}
    table: dict[str, Any] = _toml(path, path.name).get("tool", {}).get("portico", {})
    return table


def _unknown(name: str, place: str, nearest: str) -> str:
    told = f"{name} in {place} is not a setting"
    if name.lower().removeprefix(PREFIX.lower()).partition(".")[0] in _OF_A_TOPOLOGY:
        return f"{told}; it belongs in a topology file, which the setting topology names"
    return told + (f"; did you mean {nearest}?" if nearest else "")


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = (
            _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
        )
    return merged


def _toml(path: Path, shown: str) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as failure:
        raise SettingsError(f"{shown}: {failure.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as failure:
        raise SettingsError(f"{shown} is not TOML: {failure}") from None
