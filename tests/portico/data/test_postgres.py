from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

from portico.context import entered, root
from portico.data import Database, EmbeddedPostgres, Engine
from portico.data.account import Account, account_for
from portico.data.binaries import find_binaries
from portico.data.folder_lock import FolderInUseError
from portico.data.home import make_home
from portico.errors import StatusError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become another user")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and prctl")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Open to the user who runs Postgres when the tests run as root; pytest's own folders are not."""
    folder = Path(tempfile.mkdtemp(prefix="portico-tests-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A database that was made and stopped before."""
    folder = Path(tempfile.mkdtemp(prefix="portico-tests-"))
    folder.chmod(0o711)
    with server_in(folder) as server:
        ask(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    yield folder
    shutil.rmtree(folder)


def server_in(folder: Path, *, shared_buffers: str = "16MB") -> EmbeddedPostgres:
    return EmbeddedPostgres(
        folder / "postgres",
        fsync=False,
        shared_buffers=shared_buffers,
        shared_folder=folder / "shared",
    )


def ask(server: EmbeddedPostgres | str, statement: str) -> object:
    url = server if isinstance(server, str) else server.url
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        result = connection.execute(text(statement))
        return result.scalar() if result.returns_rows else None


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def eventually(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + 20
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


_SLEEPERS = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'"


class Program:
    """A program of its own with an embedded database, to be killed."""

    _SOURCE = """
import sys, time
from pathlib import Path
from portico.data import EmbeddedPostgres, child
if sys.argv[2] == "orphans":
    child._end_with_parent = lambda farewell: None
folder = Path(sys.argv[1])
server = EmbeddedPostgres(folder / "postgres", shared_folder=folder / "shared")
server.start()
print(server.pid, server.url.render_as_string(), flush=True)
time.sleep(60)
"""

    def __init__(self, folder: Path, *, orphans: bool = False) -> None:
        kind = "orphans" if orphans else "none"
        self.process = subprocess.Popen(
            [sys.executable, "-c", self._SOURCE, folder, kind],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        pid, self.url = self.process.stdout.readline().split()
        self.server_pid = int(pid)

    def run(self, statement: str) -> object:
        return ask(self.url, statement)

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


def test_what_was_stored_is_found_after_the_next_start(made: Path) -> None:
    with server_in(made) as server:
        assert ask(server, "SELECT answer FROM kept") == 42
        pid = server.pid
    assert not runs(pid)


def test_it_can_be_started_again_after_a_stop(made: Path) -> None:
    server = server_in(made)
    for _ in range(2):
        server.start()
        assert ask(server, "SELECT 1") == 1
        server.stop()
    server.stop()
    with pytest.raises(RuntimeError, match="not been started"):
        server.url  # noqa: B018


def test_it_is_not_started_twice(made: Path) -> None:
    with server_in(made) as server, pytest.raises(RuntimeError, match="already"):
        server.start()


def test_what_it_stores_is_what_every_machine_stores(made: Path) -> None:
    with server_in(made) as server:
        assert ask(server, "SHOW server_encoding") == "UTF8"
        assert ask(server, "SHOW timezone") == "UTC"
        assert ask(server, "SHOW data_checksums") == "on"
        assert ask(server, "SELECT 'B' < 'a' AND upper('é') = 'É'") is True


def test_only_its_own_user_reaches_it(made: Path) -> None:
    with server_in(made) as server:
        assert ask(server, "SHOW listen_addresses") == ""
        sockets = Path(str(server.url.query["host"]))
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        assert stat.S_IMODE((made / "postgres" / "data").stat().st_mode) == 0o700


def test_real_data_are_written_to_the_disk(made: Path) -> None:
    with EmbeddedPostgres(made / "postgres", shared_folder=made / "shared") as server:
        assert ask(server, "SHOW fsync") == "on"
        assert ask(server, "SHOW synchronous_commit") == "on"
        assert ask(server, "SHOW full_page_writes") == "on"


def test_a_path_too_long_for_a_socket_is_no_obstacle(folder: Path, made: Path) -> None:
    deep = folder / ("deep" * 20) / ("deeper" * 10)
    deep.mkdir(parents=True)
    (made / "postgres").rename(deep / "postgres")
    try:
        with server_in(deep) as server:
            assert ask(server, "SELECT answer FROM kept") == 42
            sockets = Path(str(server.url.query["host"]))
            assert not sockets.is_relative_to(folder)
            assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        assert not sockets.exists()
    finally:
        (deep / "postgres").rename(made / "postgres")


def test_two_programs_never_share_a_folder(made: Path) -> None:
    with server_in(made) as server:
        with pytest.raises(FolderInUseError, match=f"process {os.getpid()}:"):
            server_in(made).start()
        assert ask(server, "SELECT 1") == 1


def test_a_making_that_was_interrupted_is_begun_anew(folder: Path) -> None:
    half = folder / "postgres" / "data.unfinished" / "base"
    half.mkdir(parents=True)
    half.with_name("PG_VERSION").write_text("18\n")
    with server_in(folder) as server:
        assert ask(server, "SELECT 1") == 1
    assert not half.parent.exists()


def test_it_outlives_the_thread_that_started_it(made: Path) -> None:
    server = server_in(made)
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    ask(server, "SELECT pg_sleep(0.1)")
    assert ask(server, "SELECT 1") == 1
    server.stop()


def test_ctrl_c_in_the_terminal_does_not_reach_it(made: Path) -> None:
    with server_in(made) as server:
        assert os.getsid(server.pid) != os.getsid(0)


def test_open_transactions_do_not_delay_the_stop(made: Path) -> None:
    server = server_in(made)
    server.start()
    engine = create_engine(server.url, poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text("CREATE TABLE never (id int)"))
        server.stop()
        connection.invalidate()
    with server_in(made) as server:
        assert ask(server, "SELECT to_regclass('never')") is None


def test_a_server_that_does_not_start_says_why(made: Path) -> None:
    server = server_in(made, shared_buffers="a lot")
    with pytest.raises(RuntimeError, match="invalid value for parameter"):
        server.start()
    with server_in(made):  # the folder is free again
        pass


def test_data_of_a_version_that_is_not_there_are_left_alone(folder: Path) -> None:
    data = folder / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("99\n")
    with pytest.raises(RuntimeError, match="no Postgres 99, which made the data"):
        server_in(folder).start()
    assert (data / "PG_VERSION").read_text() == "99\n"


def test_a_server_that_ends_by_itself_is_reported(
    made: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with server_in(made) as server:
        os.kill(server.pid, signal.SIGKILL)
        assert eventually(lambda: "Postgres ended by itself" in caplog.text)


def test_an_engine_gets_over_a_restart(made: Path) -> None:
    with server_in(made) as server:
        engine = Engine(server.url, pool_size=3)
        database = Database(engine, schema="s")
        with database.reading(), entered(root()), database.reading():
            pass  # two connections in the pool
        with (
            pytest.raises(StatusError, match="DATABASE_UNAVAILABLE"),
            database.reading() as session,
        ):
            server.stop()
            session.execute(text("SELECT 1"))
        with pytest.raises(StatusError, match="DATABASE_UNAVAILABLE"), database.unit_of_work():
            pass
        server.start()
        for _ in range(3):
            with database.unit_of_work() as session:
                assert session.execute(text("SELECT 1")).scalar() == 1
        engine.close()


@on_linux
class TestAKilledProgram:
    def test_takes_its_server_along(self, made: Path) -> None:
        program = Program(made)
        program.run("CREATE TABLE IF NOT EXISTS survives AS SELECT 1 AS one")
        program.kill()
        assert eventually(lambda: not runs(program.server_pid))
        with server_in(made) as server:
            assert ask(server, "SELECT one FROM survives LIMIT 1") == 1

    def test_does_not_stand_in_the_way_of_the_next_start(self, made: Path) -> None:
        program = Program(made)
        program.kill()
        with server_in(made) as server:  # at once
            assert ask(server, "SELECT 1") == 1

    def test_whose_server_went_on_is_cleared_away(
        self, made: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        program = Program(made, orphans=True)
        program.kill()
        assert runs(program.server_pid)
        with server_in(made) as server:
            assert not runs(program.server_pid)
            assert ask(server, "SELECT 1") == 1
        assert f"(process {program.server_pid})" in caplog.text

    def test_killed_together_with_its_server_is_recovered_from(self, made: Path) -> None:
        program = Program(made)
        program.run("CREATE TABLE IF NOT EXISTS recovered AS SELECT 1 AS one")

        def keep_busy() -> None:
            with pytest.raises(OperationalError):
                program.run("SELECT pg_sleep(60)")

        busy = threading.Thread(target=keep_busy)
        busy.start()
        assert eventually(lambda: program.run(_SLEEPERS) == 1)
        os.kill(program.server_pid, signal.SIGKILL)
        program.kill()
        with server_in(made) as server:
            assert ask(server, "SELECT one FROM recovered LIMIT 1") == 1
        busy.join()

    def test_leaves_no_lock_that_counts(self, made: Path, postgres: EmbeddedPostgres) -> None:
        with server_in(made) as server:
            sockets = Path(str(server.url.query["host"]))
        sockets.mkdir(exist_ok=True)
        lock = sockets / ".s.PGSQL.5432.lock"
        lock.write_text(f"{postgres.pid}\n{made}\n1\n5432\n{sockets}\n")
        with server_in(made) as server:
            assert ask(server, "SELECT 1") == 1

    def test_whose_number_another_process_has_now_is_no_reason_to_kill_that(
        self, made: Path, postgres: EmbeddedPostgres
    ) -> None:
        pidfile = made / "postgres" / "data" / "postmaster.pid"
        pidfile.write_text(f"{postgres.pid}\n{pidfile.parent}\n1\n5432\n/tmp\n\n0 0\nready\n")
        with server_in(made) as server:
            assert ask(server, "SELECT 1") == 1
        assert ask(postgres, "SELECT 1") == 1


@as_root
class TestAsRoot:
    def test_it_runs_as_an_ordinary_user(self, made: Path) -> None:
        with server_in(made) as server:
            assert Path(f"/proc/{server.pid}").stat().st_uid != 0
            assert (made / "postgres" / "data").stat().st_uid != 0

    def test_that_user_is_the_owner_of_the_project(self, folder: Path) -> None:
        os.chown(folder, 65534, 65534)
        assert account_for(folder / ".portico" / "postgres").name == "nobody"
        with server_in(folder / ".portico") as server:
            assert Path(f"/proc/{server.pid}").stat().st_uid == 65534
        assert (folder / ".portico").stat().st_uid == 65534

    def test_a_closed_folder_stays_closed_and_the_data_lie_elsewhere(
        self, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        home = folder / "home"
        home.mkdir(mode=0o700)
        project = home / "project"
        server = EmbeddedPostgres(
            project / "postgres", fsync=False, shared_folder=folder / "var" / "portico"
        )
        with server:
            ask(server, "CREATE TABLE kept AS SELECT 42 AS answer")
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        assert home.stat().st_uid == 0
        assert str(folder / "var" / "portico") in caplog.text
        with server:
            assert ask(server, "SELECT answer FROM kept") == 42

        before = make_home(project / "postgres", folder / "var" / "portico").folder
        shutil.rmtree(project)  # a fresh clone in the same place begins anew
        assert make_home(project / "postgres", folder / "var" / "portico").folder != before

    def test_programs_in_a_closed_folder_are_copied_once(
        self, made: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Account, "enters", lambda _, path: path.is_relative_to(made))
        copies = made / "shared"
        found = find_binaries(account_for(made), major=None, copies=copies)
        assert found.folder.is_relative_to(copies)
        made_at = copies.stat().st_mtime_ns
        assert find_binaries(account_for(made), major=None, copies=copies) == found
        assert copies.stat().st_mtime_ns == made_at
        with server_in(made) as server:
            assert Path(f"/proc/{server.pid}/exe").readlink() == found.folder / "postgres"

    def test_a_link_in_the_folder_leads_nowhere(self, folder: Path) -> None:
        target = folder / "precious"
        (folder / "postgres").mkdir()
        (folder / "postgres" / "postgres.log").symlink_to(target)
        with pytest.raises(OSError, match="symbolic links"):
            server_in(folder).start()
        assert not target.exists()


@on_linux
def test_older_programs_are_found_for_older_data(folder: Path) -> None:
    account = account_for(folder)
    newest = find_binaries(account, major=None, copies=folder / "shared")
    assert newest.major >= 15
    assert find_binaries(account, major=16, copies=folder / "shared").major == 16
