"""Certificates of processes that `portico certs` would not make: other keys, other uses, other times."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from portico.clock import ManualClock
from portico.security.certificates import Certificates

CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH

_ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")


def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def usage(*, signs: bool = False, issues: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs,
        content_commitment=False,
        key_encipherment=not (signs or issues),
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=issues,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


@dataclass
class Issuer:
    """An authority, or what one has issued that issues as well."""

    clock: ManualClock
    name: str = "authority"
    key: Any = field(default_factory=ec_key)
    above: Issuer | None = None
    depth: int | None = None
    usage: x509.KeyUsage | None = None
    certificate: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        above = self.above or self
        builder = self._builder(self.name, above.name, self.key, days=3650).add_extension(
            x509.BasicConstraints(ca=True, path_length=self.depth), critical=True
        )
        if self.usage is not None:
            builder = builder.add_extension(self.usage, critical=True)
        self.certificate = above.sign(builder)

    def sign(
        self, builder: x509.CertificateBuilder, *, identified: bool = True
    ) -> x509.Certificate:
        if identified:
            identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
            builder = builder.add_extension(identifier, critical=False)
        return builder.sign(self.key, SHA256())

    def alter(self, certificate: x509.Certificate, was: bytes, new: bytes) -> bytes:
        """The certificate in DER with the first ``was`` in it another, and signed again: what no builder makes."""
        altered = certificate.tbs_certificate_bytes.replace(was, new, 1)
        assert altered != certificate.tbs_certificate_bytes
        signature = self.key.sign(altered, ec.ECDSA(SHA256()))
        return _der(0x30, altered + _ECDSA_WITH_SHA256 + _der(0x03, b"\0" + signature))

    def issue(
        self,
        key: Any,
        *modules: str,
        days: float = 30,
        use: x509.KeyUsage | None = None,
        purpose: x509.ObjectIdentifier | None = CLIENT,
        identified: bool = True,
    ) -> x509.Certificate:
        names = [x509.UniformResourceIdentifier("portico://process/some")]
        names += [x509.UniformResourceIdentifier(f"portico://module/{each}") for each in modules]
        builder = self._builder("some", self.name, key, days=days).add_extension(
            x509.SubjectAlternativeName(names), critical=False
        )
        if use is not None:
            builder = builder.add_extension(use, critical=True)
        if purpose is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        return self.sign(builder, identified=identified)

    def _builder(self, name: str, issuer: str, key: Any, *, days: float) -> x509.CertificateBuilder:
        public, now = key.public_key(), self.clock.now()
        return (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(_named(issuer))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )


@dataclass
class Holder:
    """The folder of one process, and what is in it."""

    folder: Path
    clock: ManualClock

    def put(self, key: Any, *chain: x509.Certificate) -> None:
        """The process's key and its chain, from its own certificate on."""
        self._write(
            "some.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        self._write("some.pem", pem(*chain))

    def trust(self, *authorities: Issuer) -> None:
        self._write("ca.pem", pem(*[each.certificate for each in authorities]))

    def certificates(self) -> Certificates:
        return Certificates(self.folder, "some", clock=self.clock)

    def _write(self, name: str, content: bytes) -> None:
        """As a new file: its stamp is another, however little time has passed."""
        partial = self.folder / f".{name}"
        partial.write_bytes(content)
        partial.replace(self.folder / name)


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join([each.public_bytes(Encoding.PEM) for each in certificates])


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _der(tag: int, content: bytes) -> bytes:
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    return bytes([tag, 0x82]) + len(content).to_bytes(2, "big") + content
