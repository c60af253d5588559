"""The certificate of a process: read, checked and renewed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from portico.clock import ManualClock
from portico.security.authority import Authority, issue_all
from portico.security.bundle import CertificateError
from portico.security.certificates import Certificates
from portico.topology import Process, Topology

TOPOLOGY = Topology(
    name="apart",
    processes={
        "payments": Process(name="payments", modules=("payments",)),
        "orders": Process(name="orders", modules=("orders",), front=True),
    },
)
DAY_SECONDS = 86_400

Logged = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def folder(tmp_path: Path, clock: ManualClock) -> Path:
    issue_all(TOPOLOGY, tmp_path, clock=clock)
    return tmp_path


def refusal(folder: Path, clock: ManualClock) -> str:
    with pytest.raises(CertificateError) as caught:
        Certificates(folder, "payments", clock=clock)
    return str(caught.value)


class TestAStart:
    @pytest.mark.parametrize("name", ["ca.pem", "payments.pem", "payments.key"])
    def test_names_a_file_that_is_missing(
        self, folder: Path, clock: ManualClock, name: str
    ) -> None:
        (folder / name).unlink()

        assert refusal(folder, clock).startswith(f"{folder / name} is missing")

    @pytest.mark.parametrize(
        ("name", "what"),
        [
            ("ca.pem", "not a certificate in PEM"),
            ("payments.pem", "not a certificate in PEM"),
            ("payments.key", "not a private key in PEM"),
        ],
    )
    def test_names_a_file_that_is_something_else(
        self, folder: Path, clock: ManualClock, name: str, what: str
    ) -> None:
        (folder / name).write_text("-----BEGIN NOTHING-----\n")

        assert refusal(folder, clock).startswith(f"{folder / name} is {what}")

    def test_names_a_file_that_is_a_folder(self, folder: Path, clock: ManualClock) -> None:
        (folder / "payments.key").unlink()
        (folder / "payments.key").mkdir()

        assert "payments.key cannot be read: Is a directory" in refusal(folder, clock)

    def test_is_refused_with_the_key_of_another(self, folder: Path, clock: ManualClock) -> None:
        shutil.copy(folder / "orders.key", folder / "payments.key")

        assert refusal(folder, clock).endswith(
            f"payments.key is not the key of {folder / 'payments.pem'}"
        )

    def test_is_refused_with_a_certificate_of_another_authority(
        self, folder: Path, clock: ManualClock, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        issue_all(TOPOLOGY, elsewhere, clock=clock)
        shutil.copy(elsewhere / "ca.pem", folder / "ca.pem")

        assert "payments.pem was not issued by" in refusal(folder, clock)

    def test_is_refused_when_the_certificate_has_expired(
        self, folder: Path, clock: ManualClock
    ) -> None:
        clock.advance(seconds=30 * DAY_SECONDS)

        message = refusal(folder, clock)

        assert "payments.pem was good until 2026-01-31T00:00:00+00:00 and has expired" in message

    def test_is_refused_before_the_certificate_is_good(self, folder: Path) -> None:
        last_year = ManualClock(ManualClock().now() - timedelta(days=1))

        assert "is not good before" in refusal(folder, last_year)

    def test_takes_several_authorities(
        self, folder: Path, clock: ManualClock, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        other = Authority.kept_in(tmp_path_factory.mktemp("other"), clock=clock)
        certificate, key = other.issue("payments", modules=("payments",))
        (folder / "payments.pem").write_bytes(certificate)
        (folder / "payments.key").write_bytes(key)
        assert "was not issued by" in refusal(folder, clock)

        with (folder / "ca.pem").open("ab") as file:
            file.write((tmp_path_factory.getbasetemp() / "other0" / "ca.pem").read_bytes())

        Certificates(folder, "payments", clock=clock)


class TestRenewal:
    def test_is_seen_by_each_connection_once(self, folder: Path, clock: ManualClock) -> None:
        certificates = Certificates(folder, "payments", clock=clock)
        first, second = certificates.client(), certificates.client()
        assert not first.changed()

        issue_all(TOPOLOGY, folder, clock=clock)

        assert first.changed()
        first.channel_credentials()
        assert not first.changed()
        assert second.changed()

    def test_is_not_seen_when_nothing_was_written(self, folder: Path, clock: ManualClock) -> None:
        certificates = Certificates(folder, "payments", clock=clock)
        client = certificates.client()
        (folder / "orders.pem").touch()

        assert not client.changed()

    def test_that_is_half_written_leaves_the_former_in_use(
        self, folder: Path, clock: ManualClock, logged: Logged
    ) -> None:
        certificates = Certificates(folder, "payments", clock=clock)
        client, before = certificates.client(), certificates.current()[0]
        key = (folder / "payments.key").read_bytes()

        (folder / "payments.key").write_text("half of i")
        assert not client.changed()
        assert not logged()  # it may be whole in a moment
        for _ in range(3):
            assert not client.changed()
        assert certificates.current()[0] is before
        (line,) = logged()
        assert line["level"] == "error"
        assert "payments.key is not a private key" in line["failure"]

        (folder / "payments.key").write_bytes(key)
        assert client.changed()


class TestAnExpiryToCome:
    def test_is_told_once_a_day_in_the_last_week(
        self, folder: Path, clock: ManualClock, logged: Logged
    ) -> None:
        client = Certificates(folder, "payments", clock=clock).client()
        clock.advance(seconds=22 * DAY_SECONDS)
        client.changed()
        assert not logged()

        for _ in range(4):
            clock.advance(seconds=DAY_SECONDS / 2)
            client.changed()
            client.changed()

        assert [line["level"] for line in logged()] == ["warning", "warning"]
        assert logged()[0]["expires_at"] == "2026-01-31T00:00:00+00:00"

    def test_is_told_at_the_start(self, folder: Path, clock: ManualClock, logged: Logged) -> None:
        clock.advance(seconds=25 * DAY_SECONDS)
        Certificates(folder, "payments", clock=clock)

        assert len(logged()) == 1
