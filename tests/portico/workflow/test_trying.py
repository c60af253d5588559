from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import NullPool, create_engine, text

from portico.data import Database, Engine, TransactionMisuseError
from portico.workflow import Step, Workflow, Workflows, trying

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import URL


class Refused(Exception):
    pass


@pytest.fixture
def engine(database_url: URL) -> Iterator[Engine]:
    owner = create_engine(database_url, poolclass=NullPool)
    with owner.begin() as connection:
        for schema in ("shop", "bank"):
            connection.execute(text(f"DROP SCHEMA IF EXISTS {schema} CASCADE"))
            connection.execute(text(f"CREATE SCHEMA {schema}"))
            connection.execute(text(f"CREATE TABLE {schema}.notes (note text)"))
    engine = Engine(database_url)
    yield engine
    engine.close()


@pytest.fixture
def bank(engine: Engine) -> Database:
    return Database(engine, schema="bank")


@pytest.fixture
def run(engine: Engine) -> Callable[[Callable[[], None]], None]:
    workflows = Workflows(module="shop", database=Database(engine, schema="shop"))

    def run(action: Callable[[], None]) -> None:
        steps = [Step[None]("only", lambda _: action())]
        workflows.run(Workflow(name="shop.only", version=1, steps=steps), None, key="k")

    return run


def note(database: Database, words: str, *, then: type[Exception] | None = None) -> None:
    with database.unit_of_work() as session:
        statement = text(f"INSERT INTO {database.schema}.notes VALUES (:words)")
        session.execute(statement, {"words": words})
        if then is not None:
            raise then


def notes(database: Database) -> list[str]:
    with database.reading() as session:
        query = text(f"SELECT note FROM {database.schema}.notes ORDER BY note")
        return list(session.execute(query).scalars())


def test_a_step_that_tried_goes_on_without_what_was_refused(
    bank: Database, run: Callable[[Callable[[], None]], None]
) -> None:
    def action() -> None:
        note(bank, "before")
        with pytest.raises(Refused), trying():
            note(bank, "tried", then=Refused)
        note(bank, "instead")

    run(action)

    assert notes(bank) == ["before", "instead"]


def test_a_step_keeps_what_it_tried_and_got(
    bank: Database, run: Callable[[Callable[[], None]], None]
) -> None:
    def action() -> None:
        with trying():
            note(bank, "tried")

    run(action)

    assert notes(bank) == ["tried"]


def test_a_refusal_that_was_caught_without_trying_ends_the_workflow(
    bank: Database, run: Callable[[Callable[[], None]], None]
) -> None:
    def action() -> None:
        with trying():
            note(bank, "tried")
        with pytest.raises(Refused):
            note(bank, "refused", then=Refused)

    with pytest.raises(TransactionMisuseError, match="a step of bank failed with Refused"):
        run(action)

    assert notes(bank) == []


def test_a_refusal_that_is_not_caught_undoes_everything(
    bank: Database, run: Callable[[Callable[[], None]], None]
) -> None:
    def action() -> None:
        note(bank, "before")
        with trying():
            note(bank, "tried", then=Refused)

    with pytest.raises(Refused):
        run(action)

    assert notes(bank) == []


def test_trying_is_for_the_steps_of_a_workflow() -> None:
    with pytest.raises(RuntimeError, match="steps of a workflow"), trying():
        pass
