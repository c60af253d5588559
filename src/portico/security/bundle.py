"""The three files with which a process takes part in mutual TLS, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    Stamp = tuple[tuple[int, int, int] | None, ...]

AUTHORITY_NAME = "ca"

_MAKE_THEM = "`portico certs` makes certificates for development"


class CertificateError(Exception):
    """Certificates cannot be used; the message names the file and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Files:
    """Where they are: ``ca.pem``, and ``.pem`` and ``.key`` with the name of the process."""

    authority: Path
    certificate: Path
    key: Path

    @staticmethod
    def of(folder: Path, process: str) -> Files:
        """Those of ``process`` in ``folder``."""
        return Files(
            folder / f"{AUTHORITY_NAME}.pem", folder / f"{process}.pem", folder / f"{process}.key"
        )

    def stamp(self) -> Stamp:
        """What is different when one of them has been written or replaced."""
        return tuple(_stamp(path) for path in (self.authority, self.certificate, self.key))


@dataclass(frozen=True, slots=True)
class Bundle:
    """What is in them, in PEM: certificates that are trusted, the process's own chain, and its key."""

    authority: bytes
    certificate: bytes
    key: bytes
    expires_at: datetime

    @staticmethod
    def read(files: Files, *, now: datetime) -> Bundle:
        """Read them. Raises CertificateError unless they can be used ``now``, with one another."""
        authority, certificates = _content(files.authority), _content(files.certificate)
        key = _content(files.key)
        trusted = _certificates(authority, files.authority)
        chain = _certificates(certificates, files.certificate)
        _check_key(key, chain[0], files)
        for certificate in chain:
            _check_time(certificate, files.certificate, now)
        _check_issuer(chain[-1], trusted, files, now)
        expires_at = min(certificate.not_valid_after_utc for certificate in chain)
        return Bundle(authority, certificates, key, expires_at)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise CertificateError(f"{path} is missing; {_MAKE_THEM}") from None
    except OSError as failure:
        raise CertificateError(f"{path} cannot be read: {failure.strerror}") from failure


def _certificates(pem: bytes, path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as failure:
        raise CertificateError(f"{path} is not a certificate in PEM: {failure}") from failure


def _check_key(pem: bytes, certificate: x509.Certificate, files: Files) -> None:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as failure:  # a TypeError: it is encrypted
        raise CertificateError(f"{files.key} is not a private key in PEM: {failure}") from failure
    if key.public_key() != certificate.public_key():
        raise CertificateError(f"{files.key} is not the key of {files.certificate}")


def _check_time(certificate: x509.Certificate, path: Path, now: datetime) -> None:
    if certificate.not_valid_after_utc <= now:
        until = certificate.not_valid_after_utc.isoformat()
        raise CertificateError(f"{path} was good until {until} and has expired; {_MAKE_THEM}")
    if certificate.not_valid_before_utc > now:
        since = certificate.not_valid_before_utc.isoformat()
        raise CertificateError(f"{path} is not good before {since}; is the clock right?")


def _check_issuer(
    certificate: x509.Certificate,
    trusted: Sequence[x509.Certificate],
    files: Files,
    now: datetime,
) -> None:
    issuers = [each for each in trusted if _has_issued(each, certificate)]
    if not issuers:
        raise CertificateError(f"{files.certificate} was not issued by {files.authority}")
    for issuer in issuers:
        _check_time(issuer, files.authority, now)


def _has_issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
