"""Settings that are secrets: a renderer says where they come from, never what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, get_args

from pydantic import BaseModel, SecretStr

from portico._sources import variable_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.settings import Settings


class SecretSetting(NamedTuple):
    """One secret of one module."""

    variable: str
    """Of the environment, such as ``PORTICO_PAYMENTS__AURORA__WEBHOOK_SECRET``."""
    key: str
    """Within the module's secrets, such as ``aurora-webhook-secret``."""
    is_required: bool


def secrets_of(module: str, settings_class: type[Settings]) -> list[SecretSetting]:
    """The secrets in the section of ``module``, in the order of declaration; none without a section."""
    if module not in settings_class.model_fields:
        return []
    return list(_below(settings_class.model_fields[module].annotation, (module,)))


def _below(kind: object, path: tuple[str, ...]) -> Iterator[SecretSetting]:
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return
    for name, field in kind.model_fields.items():
        here = (*path, name)
        if SecretStr in (field.annotation, *get_args(field.annotation)):
            key = "-".join(here[1:]).replace("_", "-")
            yield SecretSetting(variable_of(here), key, field.is_required())
        else:
            yield from _below(field.annotation, here)
