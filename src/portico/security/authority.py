"""A certificate authority for development, and a certificate for each process of a topology."""

from __future__ import annotations

import ipaddress
import os
from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from portico.rpc.hops import MODULE_URI
from portico.security.bundle import AUTHORITY_NAME, CertificateError, Files

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from pathlib import Path

    from portico.clock import Clock
    from portico.topology import Process, Topology

PROCESS_URI = "portico://process/"
MOST_DAYS = 825

_AUTHORITY_DAYS = 3650
_CLOCKS_DIFFER = timedelta(hours=1)
_LOOPBACK = "127.0.0.1"


class Authority:
    """Issues certificates: the key of ``certificate`` is ``key``."""

    def __init__(
        self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, *, clock: Clock
    ) -> None:
        self.certificate = certificate
        self._key = key
        self._clock = clock

    @staticmethod
    def kept_in(folder: Path, *, clock: Clock) -> Authority:
        """The authority whose ``ca.pem`` and ``ca.key`` are in ``folder``, or a new one put there.

        Raises CertificateError when the one that is there cannot be used: none is ever replaced, since
        every certificate it has issued would be worthless.
        """
        files = _files(folder)
        if not (files.certificate.exists() or files.key.exists()):
            return _new_authority(files, clock)
        missing = next((path for path in (files.key, files.certificate) if not path.exists()), None)
        if missing is not None:
            raise CertificateError(
                f"{missing} is missing, and the other half of the authority is there:"
                " put it back, or choose another folder"
            )
        return _known_authority(files, clock)

    def issue(
        self, process: str, *, modules: Iterable[str], hosts: Iterable[str] = (), days: int = 30
    ) -> tuple[bytes, bytes]:
        """A certificate and its new key, in PEM, for both ends of a connection.

        It names the process, its ``modules``, this machine, and ``hosts``. ValueError unless ``days``
        is from 1 to ``MOST_DAYS``.
        """
        if not 1 <= days <= MOST_DAYS:
            raise ValueError(f"a certificate is good for 1 to {MOST_DAYS} days, not {days}")
        now = self._clock.now()
        key = ec.generate_private_key(ec.SECP256R1())
        until = min(now + timedelta(days=days), self.certificate.not_valid_after_utc)
        names = dict.fromkeys((process, "localhost", _LOOPBACK, *hosts))
        uris = [f"{PROCESS_URI}{process}", *(f"{MODULE_URI}{module}" for module in modules)]
        certificate = (
            _builder(process, self.certificate.subject, key, now - _CLOCKS_DIFFER, until)
            .add_extension(
                x509.SubjectAlternativeName(
                    [*map(_name, names), *map(x509.UniformResourceIdentifier, uris)]
                ),
                critical=False,
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
                ),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, SHA256())
        )
        return certificate.public_bytes(Encoding.PEM), _pem(key)


def issue_all(topology: Topology, folder: Path, *, days: int = 30, clock: Clock) -> list[str]:
    """A certificate for each process of ``topology`` in ``folder``; a line for each, to print.

    The authority there is kept, or a new one made; processes' certificates are made anew each time, and
    programs that run take them up. Only the owner can read the keys. Raises CertificateError,
    ValueError for ``days``, and OSError.
    """
    if AUTHORITY_NAME in topology.processes:
        raise CertificateError(
            f"a process called {AUTHORITY_NAME} would have its certificate where the authority's is"
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = _files(folder)
    verb = "kept" if files.certificate.exists() else "made"
    authority = Authority.kept_in(folder, clock=clock)
    until = authority.certificate.not_valid_after_utc.date()
    first = (
        f"{verb} the authority {files.certificate}, good until {until}; whoever has {files.key}"
        " can be any process, so it goes to none of them"
    )
    return [
        first,
        *(
            _issue_one(authority, process, Files.of(folder, process.name), days)
            for process in topology.processes.values()
        ),
    ]


def _issue_one(authority: Authority, process: Process, files: Files, days: int) -> str:
    certificate, key = authority.issue(
        process.name, modules=process.modules, hosts=_hosts(process.address), days=days
    )
    _write(files.key, key, 0o600)
    _write(files.certificate, certificate, 0o644)
    until = x509.load_pem_x509_certificate(certificate).not_valid_after_utc.date()
    modules = ", ".join(process.modules) or "no module"
    return f"{process.name}: {files.certificate}, good until {until}, for {modules}"


def _files(folder: Path) -> Files:
    return Files.of(folder, AUTHORITY_NAME)


def _new_authority(files: Files, clock: Clock) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    now = clock.now()
    name = "Portico development authority"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    until = now + timedelta(days=_AUTHORITY_DAYS)
    certificate = (
        _builder(name, subject, key, now - _CLOCKS_DIFFER, until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, SHA256())
    )
    _write(files.key, _pem(key), 0o600)
    _write(files.certificate, certificate.public_bytes(Encoding.PEM), 0o644)
    return Authority(certificate, key, clock=clock)


def _known_authority(files: Files, clock: Clock) -> Authority:
    try:
        certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        key = load_pem_private_key(files.key.read_bytes(), password=None)
    except (ValueError, TypeError) as failure:
        raise CertificateError(
            f"{files.certificate} or {files.key} is not what it should be: {failure}"
        ) from failure
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError(f"{files.key} is not a key on an elliptic curve")
    if key.public_key() != certificate.public_key():
        raise CertificateError(f"{files.key} is not the key of {files.certificate}")
    until = certificate.not_valid_after_utc
    if until <= clock.now():
        raise CertificateError(
            f"{files.certificate} was good until {until.date()}: remove it and {files.key},"
            " and give every process its new certificate and the new authority"
        )
    return Authority(certificate, key, clock=clock)


def _builder(
    name: str,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    since: datetime,
    until: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _hosts(address: str) -> Sequence[str]:
    host = address.rpartition(":")[0].strip("[]")
    return (host,) if host else ()


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes, mode: int) -> None:
    """All of it or nothing, and never for a moment readable by more than ``mode`` says."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    partial.replace(path)
