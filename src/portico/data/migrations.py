"""Migrations: each module brings its own schema up to date, by Alembic, one after the other.

The files of a module lie in ``<folder>/<module>/versions`` and are called ``0001_what_it_does.py``;
the number is the revision. They only go forward. Names without a schema mean the module's own.
"""

from __future__ import annotations

import logging
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from portico.data.engine import driver_url
from portico.data.errors import translated

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import Any

    from sqlalchemy import URL, Connection

_log = logging.getLogger(__name__)

_VERSION_TABLE = "alembic_version"
_LOCK = int.from_bytes(b"portico")  # any number, as long as every program takes the same
_FILE = re.compile(r"(\d{4})_\w+\.py")
_MODULE = re.compile(r"[a-z][a-z0-9_]*")
_alembic = threading.Lock()  # its ``op`` is one for the whole process


class MigrationError(RuntimeError):
    """A schema is not what the program needs; the message names the module and the revision."""


@dataclass(frozen=True, kw_only=True)
class Migration:
    """One step of one module."""

    module: str
    revision: str
    """Four digits."""
    file: Path


def upgrade(
    url: URL | str, modules: Sequence[str], *, folder: Path, lock_seconds: float = 60.0
) -> list[Migration]:
    """Bring the schemas of ``modules`` up to date and answer what was done; nothing costs a few ms.

    Each module's steps are one transaction: a failure leaves that module as it was, those before it
    migrated, and raises MigrationError. Programs that start at once wait for each other, up to
    ``lock_seconds``, which is also how long a step may wait for a table.
    """
    with _connected(url) as connection:
        if not _pending(connection, modules, folder):
            return []
        _wait_for_turn(connection, lock_seconds)
        missing = _pending(connection, modules, folder)
        for module in modules:
            steps = [step for step in missing if step.module == module]
            if steps:
                _run(connection, module, folder / module, steps)
        return missing


def pending(url: URL | str, modules: Sequence[str], *, folder: Path) -> list[Migration]:
    """The steps that ``upgrade`` would take."""
    with _connected(url) as connection:
        return _pending(connection, modules, folder)


def current(url: URL | str, modules: Sequence[str]) -> dict[str, str | None]:
    """The revision each module's schema is at; None where it was never migrated."""
    with _connected(url) as connection:
        return _current(connection, modules)


def refuse_pending(url: URL | str, modules: Sequence[str], *, folder: Path) -> None:
    """Raise MigrationError when a schema is older than the program.

    A newer one is accepted: while a new release is rolled out, the old one works on its schema.
    """
    missing = pending(url, modules, folder=folder)
    if missing:
        names = ", ".join(f"{step.module} {step.revision}" for step in missing)
        raise MigrationError(
            f"the database lacks these migrations: {names}. Run `portico migrate`."
        )


def new(module: str, message: str, *, folder: Path) -> Path:
    """Write the next, empty migration of ``module`` and answer where it is."""
    slug = "_".join(re.findall(r"[a-z0-9]+", message.lower()))
    if not slug or not _MODULE.fullmatch(module):
        raise ValueError(
            f"a migration needs a module and a message, not {module!r} and {message!r}"
        )
    versions = folder / module / "versions"
    versions.mkdir(parents=True, exist_ok=True)
    before = [step.revision for step in _steps(module, folder)]
    revision = f"{int(before[-1]) + 1 if before else 1:04d}"
    file = versions / f"{revision}_{slug}.py"
    down = f'"{before[-1]}"' if before else "None"
    file.write_text(_TEMPLATE.format(message=message.rstrip("."), revision=revision, down=down))
    return file


_TEMPLATE = '''"""{message}."""

from __future__ import annotations

from alembic import op

revision = "{revision}"
down_revision = {down}


def upgrade() -> None:
    op.execute("SELECT 1")
'''


@contextmanager
def _connected(url: URL | str) -> Iterator[Connection]:
    engine = create_engine(
        driver_url(url), poolclass=NullPool, connect_args={"application_name": "portico migrate"}
    )
    try:
        with engine.connect() as connection:
            yield connection
    except DBAPIError as error:
        known = translated(error)
        if known is not None:
            raise known from error
        raise


def _pending(connection: Connection, modules: Sequence[str], folder: Path) -> list[Migration]:
    at = _current(connection, modules)
    missing = []
    for module in modules:
        steps = _steps(module, folder)
        if not steps:
            raise MigrationError(
                f"module {module} owns data but has no migrations in {folder / module}"
            )
        missing += [step for step in steps if step.revision > (at[module] or "")]
    return missing


def _steps(module: str, folder: Path) -> list[Migration]:
    steps: dict[str, Migration] = {}
    for file in sorted((folder / module / "versions").glob("*.py")):
        match = _FILE.fullmatch(file.name)
        if match is None:
            raise MigrationError(f"{file} is not called like a migration: 0001_what_it_does.py")
        revision = match.group(1)
        if revision in steps:
            raise MigrationError(f"two migrations of {module} have the number {revision}")
        steps[revision] = Migration(module=module, revision=revision, file=file)
    return list(steps.values())


def _current(connection: Connection, modules: Sequence[str]) -> dict[str, str | None]:
    names = {"names": list(modules), "table": _VERSION_TABLE}
    exists = connection.exec_driver_sql(_HAVE_VERSIONS, names).scalars().all()
    at: dict[str, str | None] = dict.fromkeys(modules)
    if exists:
        query = " UNION ALL ".join(
            f"SELECT '{name}', max(version_num) FROM \"{name}\".{_VERSION_TABLE}"  # noqa: S608  # names of schemas
            for name in exists
        )
        at.update((row[0], row[1]) for row in connection.exec_driver_sql(query))
    connection.rollback()
    return at


_HAVE_VERSIONS = """
SELECT nspname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relname = %(table)s AND nspname = ANY(%(names)s)
"""


def _wait_for_turn(connection: Connection, seconds: float) -> None:
    connection.exec_driver_sql(f"SET lock_timeout = {int(seconds * 1000)}")
    try:
        connection.exec_driver_sql("SELECT pg_advisory_lock(%(lock)s)", {"lock": _LOCK})
    except DBAPIError as error:
        raise MigrationError(f"another program has been migrating for {seconds:g} s") from error
    connection.commit()  # the lock is the session's: it ends with the connection


def _run(connection: Connection, module: str, folder: Path, steps: Sequence[Migration]) -> None:
    script = ScriptDirectory(str(folder), version_locations=[str(folder / "versions")])
    done: list[str] = []
    environment = EnvironmentContext(
        Config(),
        script,
        fn=lambda revision, _: script._upgrade_revs("head", revision),  # noqa: SLF001  # as documented
    )
    connection.exec_driver_sql(f'SET search_path = "{module}"')
    connection.commit()
    try:
        with _alembic, environment:
            environment.configure(
                connection=connection,
                version_table=_VERSION_TABLE,
                version_table_schema=module,
                on_version_apply=lambda *, step, **_: done.append(step.up_revision_id),
            )
            with environment.begin_transaction():
                connection.exec_driver_sql(f'CREATE SCHEMA IF NOT EXISTS "{module}"')
                environment.run_migrations()
                if done != [step.revision for step in steps]:
                    raise CommandError(f"by their content the revisions are {', '.join(done)}")
    except (SQLAlchemyError, CommandError) as error:
        raise MigrationError(_failure(module, steps, done, error)) from error
    _log.info("schema %s is at %s now", module, done[-1])


def _failure(module: str, steps: Sequence[Migration], done: Sequence[Any], error: Exception) -> str:
    failed = steps[len(done)].file.name if len(done) < len(steps) else "its end"
    cause = error.orig if isinstance(error, DBAPIError) else error
    return f"module {module} was not migrated: {failed} failed, and nothing of it stayed: {cause}"
