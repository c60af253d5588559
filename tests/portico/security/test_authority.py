"""The development authority: what it makes, what it keeps, and what it will not do."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from portico.clock import ManualClock
from portico.security.authority import Authority, issue_all
from portico.security.bundle import CertificateError
from portico.topology import Process, Topology


def topology(*extra: Process) -> Topology:
    processes = (
        Process(name="payments", modules=("payments",), address="pay.internal:50052"),
        Process(name="shop", modules=("catalog", "orders"), address="10.0.0.7:50053"),
        Process(name="edge", front=True),
        *extra,
    )
    return Topology(name="apart", processes={each.name: each for each in processes})


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "certificates"


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def names(path: Path) -> x509.SubjectAlternativeName:
    found = certificate(path).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return found.value


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_every_process_gets_a_certificate_that_names_it_and_its_modules(
    folder: Path, clock: ManualClock
) -> None:
    lines = issue_all(topology(), folder, clock=clock)

    shop = names(folder / "shop.pem")
    assert shop.get_values_for_type(x509.UniformResourceIdentifier) == [
        "portico://process/shop",
        "portico://module/catalog",
        "portico://module/orders",
    ]
    assert shop.get_values_for_type(x509.DNSName) == ["shop", "localhost"]
    addresses = map(str, shop.get_values_for_type(x509.IPAddress))
    assert list(addresses) == ["127.0.0.1", "10.0.0.7"]
    payments = names(folder / "payments.pem")
    assert payments.get_values_for_type(x509.DNSName) == ["payments", "localhost", "pay.internal"]
    edge = names(folder / "edge.pem")
    assert edge.get_values_for_type(x509.UniformResourceIdentifier) == ["portico://process/edge"]
    assert len(lines) == 4
    assert lines[0].startswith("made the authority")
    assert "shop.pem, good until 2026-01-31, for catalog, orders" in lines[2]
    assert "for no module" in lines[3]


def test_certificates_are_for_both_ends_of_a_connection_and_sign_nothing(
    folder: Path, clock: ManualClock
) -> None:
    issue_all(topology(), folder, clock=clock)
    found = certificate(folder / "shop.pem")

    found.verify_directly_issued_by(certificate(folder / "ca.pem"))
    constraints = found.extensions.get_extension_for_class(x509.BasicConstraints).value
    usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert not constraints.ca
    assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


def test_only_the_owner_reads_keys(folder: Path, clock: ManualClock) -> None:
    issue_all(topology(), folder, clock=clock)

    assert mode(folder) == 0o700
    keys = list(folder.glob("*.key"))
    assert {key.stem for key in keys} == {"ca", "payments", "shop", "edge"}
    assert {mode(key) for key in keys} == {0o600}


def test_a_second_run_keeps_the_authority_and_renews_the_rest(
    folder: Path, clock: ManualClock
) -> None:
    issue_all(topology(), folder, clock=clock)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    clock.advance(seconds=86_400)

    lines = issue_all(topology(), folder, days=10, clock=clock)

    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert lines[0].startswith("kept the authority")
    assert {name for name in after if after[name] == before[name]} == {"ca.pem", "ca.key"}
    assert certificate(folder / "shop.pem").not_valid_after_utc.day == 12
    assert before.keys() == after.keys()


@pytest.mark.parametrize("lost", ["ca.pem", "ca.key"])
def test_half_an_authority_is_not_written_over(folder: Path, clock: ManualClock, lost: str) -> None:
    issue_all(topology(), folder, clock=clock)
    (folder / lost).unlink()
    rest = {path.name: path.read_bytes() for path in folder.iterdir()}

    with pytest.raises(CertificateError, match=f"{lost} is missing"):
        issue_all(topology(), folder, clock=clock)

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == rest


def test_an_authority_that_cannot_be_used_is_told(folder: Path, clock: ManualClock) -> None:
    issue_all(topology(), folder, clock=clock)
    key = (folder / "ca.key").read_bytes()

    (folder / "ca.key").write_bytes((folder / "shop.key").read_bytes())
    with pytest.raises(CertificateError, match=r"ca\.key is not the key of .*ca\.pem"):
        issue_all(topology(), folder, clock=clock)

    (folder / "ca.key").write_text("nothing")
    with pytest.raises(CertificateError, match="is not what it should be"):
        issue_all(topology(), folder, clock=clock)

    (folder / "ca.key").write_bytes(key)
    clock.advance(seconds=3651 * 86_400)
    with pytest.raises(CertificateError, match="was good until 2035-12-30: remove it"):
        issue_all(topology(), folder, clock=clock)


def test_no_certificate_outlives_its_authority(folder: Path, clock: ManualClock) -> None:
    issue_all(topology(), folder, clock=clock)
    clock.advance(seconds=3640 * 86_400)

    issue_all(topology(), folder, days=30, clock=clock)

    until = certificate(folder / "shop.pem").not_valid_after_utc
    assert until == certificate(folder / "ca.pem").not_valid_after_utc


@pytest.mark.parametrize("days", [0, -1, 826])
def test_a_lifetime_beyond_reason_is_refused(tmp_path: Path, clock: ManualClock, days: int) -> None:
    authority = Authority.kept_in(tmp_path, clock=clock)

    with pytest.raises(ValueError, match=f"1 to 825 days, not {days}"):
        authority.issue("shop", modules=(), days=days)


def test_a_process_may_not_have_the_authoritys_name(folder: Path, clock: ManualClock) -> None:
    with pytest.raises(CertificateError, match="a process called ca"):
        issue_all(topology(Process(name="ca", modules=("users",))), folder, clock=clock)

    assert not folder.exists()
