from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import NullPool, create_engine, text

from portico.data import migrations
from portico.data.migrations import MigrationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import URL

    from portico.testing.servers import Databases


@pytest.fixture
def url(databases: Databases) -> Iterator[URL]:
    url = databases.new()
    yield url
    databases.drop(url)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "migrations"


def write(folder: Path, module: str, message: str, *statements: str) -> Path:
    file = migrations.new(module, message, folder=folder)
    body = "".join(f"    op.execute({statement!r})\n" for statement in statements)
    file.write_text(file.read_text().replace('    op.execute("SELECT 1")\n', body))
    return file


def tables(url: URL) -> set[str]:
    engine = create_engine(url, poolclass=NullPool)
    query = "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname !~ '^(pg_|inf)'"
    with engine.connect() as connection:
        return set(connection.execute(text(query)).scalars())


def test_each_module_gets_its_schema_and_its_version_table(url: URL, folder: Path) -> None:
    write(folder, "alpha", "First", "CREATE TABLE things (id int)")
    write(folder, "beta", "First", "CREATE TABLE things (id int)")
    done = migrations.upgrade(url, ["alpha", "beta"], folder=folder)
    assert [(step.module, step.revision) for step in done] == [("alpha", "0001"), ("beta", "0001")]
    assert tables(url) == {
        "alpha.things",
        "alpha.alembic_version",
        "beta.things",
        "beta.alembic_version",
    }
    assert migrations.current(url, ["alpha", "gamma"]) == {"alpha": "0001", "gamma": None}


def test_a_second_run_does_nothing(url: URL, folder: Path) -> None:
    write(folder, "alpha", "First", "CREATE TABLE things (id int)")
    assert migrations.upgrade(url, ["alpha"], folder=folder)
    assert migrations.upgrade(url, ["alpha"], folder=folder) == []


def test_only_what_is_missing_is_run(url: URL, folder: Path) -> None:
    write(folder, "alpha", "First", "CREATE TABLE things (id int)")
    migrations.upgrade(url, ["alpha"], folder=folder)
    write(folder, "alpha", "More", "ALTER TABLE things ADD name text")
    write(folder, "alpha", "Even more", "CREATE INDEX ON things (name)")
    assert [step.revision for step in migrations.pending(url, ["alpha"], folder=folder)] == [
        "0002",
        "0003",
    ]
    migrations.upgrade(url, ["alpha"], folder=folder)
    assert migrations.current(url, ["alpha"]) == {"alpha": "0003"}


def test_a_failure_leaves_its_module_as_it_was(url: URL, folder: Path) -> None:
    write(folder, "alpha", "First", "CREATE TABLE things (id int)")
    write(folder, "beta", "First", "CREATE TABLE things (id int)")
    write(folder, "beta", "Bad one", "CREATE TABLE more (id int)", "ALTER TABLE nothing ADD x int")
    with pytest.raises(MigrationError) as raised:
        migrations.upgrade(url, ["alpha", "beta"], folder=folder)
    assert "module beta was not migrated: 0002_bad_one.py failed" in str(raised.value)
    assert 'relation "nothing" does not exist' in str(raised.value)
    assert tables(url) == {"alpha.things", "alpha.alembic_version"}
    assert migrations.current(url, ["alpha", "beta"]) == {"alpha": "0001", "beta": None}


_PROGRAM = """
import sys
from pathlib import Path
from portico.data import migrations
sys.stdin.readline()
print(len(migrations.upgrade(sys.argv[1], ["alpha", "beta"], folder=Path(sys.argv[2]))))
"""


def test_programs_that_start_at_once_are_safe(url: URL, folder: Path) -> None:
    for module in ("alpha", "beta"):
        write(folder, module, "First", "CREATE TABLE things (id int)", "SELECT pg_sleep(0.05)")
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, url.render_as_string(), folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for program in programs:
        assert program.stdin is not None
        program.stdin.write("go\n")
        program.stdin.flush()
    done = [program.communicate()[0].strip() for program in programs]
    assert sorted(done) == ["0", "0", "2"]


def test_threads_of_one_program_may_migrate_several_databases(
    url: URL, databases: Databases, folder: Path
) -> None:
    another = databases.new()
    for number in range(4):
        write(folder, "alpha", f"Step {number}", f"CREATE TABLE t{number} (id int)")
    threads = [
        threading.Thread(
            target=migrations.upgrade, args=(each, ["alpha"]), kwargs={"folder": folder}
        )
        for each in (url, another)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tables(url) == tables(another)
    assert len(tables(url)) == 5
    databases.drop(another)


def test_another_program_that_migrates_is_waited_for(url: URL, folder: Path) -> None:
    write(folder, "alpha", "First", "CREATE TABLE things (id int)")
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as other:
        other.execute(text(f"SELECT pg_advisory_lock({migrations._LOCK})"))
        with pytest.raises(MigrationError, match="another program has been migrating"):
            migrations.upgrade(url, ["alpha"], folder=folder, lock_seconds=0.05)
    assert len(migrations.upgrade(url, ["alpha"], folder=folder)) == 1


def test_the_lock_is_not_kept(url: URL, folder: Path) -> None:
    write(folder, "alpha", "First", "CREATE TABLE things (id int)")
    migrations.upgrade(url, ["alpha"], folder=folder)
    write(folder, "alpha", "Second", "CREATE TABLE more (id int)")
    migrations.upgrade(url, ["alpha"], folder=folder, lock_seconds=0.5)


class TestAProgram:
    def test_does_not_start_on_an_older_schema(self, url: URL, folder: Path) -> None:
        write(folder, "alpha", "First", "CREATE TABLE things (id int)")
        with pytest.raises(
            MigrationError, match=r"lacks these migrations: alpha 0001.*portico migrate"
        ):
            migrations.refuse_pending(url, ["alpha"], folder=folder)

    def test_starts_on_the_schema_it_was_written_for(self, url: URL, folder: Path) -> None:
        write(folder, "alpha", "First", "CREATE TABLE things (id int)")
        migrations.upgrade(url, ["alpha"], folder=folder)
        migrations.refuse_pending(url, ["alpha"], folder=folder)

    def test_starts_on_the_schema_of_a_newer_release(self, url: URL, folder: Path) -> None:
        write(folder, "alpha", "First", "CREATE TABLE things (id int)")
        later = write(folder, "alpha", "Later", "ALTER TABLE things ADD name text")
        migrations.upgrade(url, ["alpha"], folder=folder)
        later.unlink()
        migrations.refuse_pending(url, ["alpha"], folder=folder)
        assert migrations.upgrade(url, ["alpha"], folder=folder) == []


class TestANewMigration:
    def test_is_numbered_and_named(self, folder: Path) -> None:
        first = migrations.new("alpha", "First tables.", folder=folder)
        second = migrations.new("alpha", "Orders, by customer!", folder=folder)
        assert first.relative_to(folder).as_posix() == "alpha/versions/0001_first_tables.py"
        assert second.name == "0002_orders_by_customer.py"
        assert 'down_revision = "0001"' in second.read_text()

    def test_runs_as_it_is(self, url: URL, folder: Path) -> None:
        migrations.new("alpha", "First", folder=folder)
        assert len(migrations.upgrade(url, ["alpha"], folder=folder)) == 1

    @pytest.mark.parametrize(("module", "message"), [("alpha", "…"), ("../alpha", "x"), ("", "x")])
    def test_needs_a_module_and_a_message(self, folder: Path, module: str, message: str) -> None:
        with pytest.raises(ValueError, match="needs a module and a message"):
            migrations.new(module, message, folder=folder)


class TestMistakes:
    def test_a_module_without_any_is_told(self, url: URL, folder: Path) -> None:
        with pytest.raises(MigrationError, match="module alpha owns data but has no migrations"):
            migrations.upgrade(url, ["alpha"], folder=folder)

    def test_two_with_one_number_are_told(self, url: URL, folder: Path) -> None:
        file = migrations.new("alpha", "First", folder=folder)
        file.with_name("0001_other.py").write_text(file.read_text())
        with pytest.raises(MigrationError, match="two migrations of alpha have the number 0001"):
            migrations.upgrade(url, ["alpha"], folder=folder)

    def test_a_stray_file_is_told(self, url: URL, folder: Path) -> None:
        file = migrations.new("alpha", "First", folder=folder)
        file.with_name("notes.py").write_text("")
        with pytest.raises(MigrationError, match="not called like a migration"):
            migrations.upgrade(url, ["alpha"], folder=folder)

    def test_a_number_inside_that_differs_from_the_name_is_told(
        self, url: URL, folder: Path
    ) -> None:
        file = migrations.new("alpha", "First", folder=folder)
        file.write_text(file.read_text().replace('"0001"', '"0007"'))
        with pytest.raises(MigrationError, match="by their content the revisions are 0007"):
            migrations.upgrade(url, ["alpha"], folder=folder)
        assert tables(url) == set()
