"""Signatures by the certificates of processes, for what does not travel over a connection of their own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from portico.rpc.hops import MODULE_URI
from portico.security import framing
from portico.security.bundle import CertificateError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
    from cryptography.x509.verification import Policy

    from portico.clock import Clock
    from portico.security.bundle import Bundle
    from portico.security.certificates import Certificates

    _Key = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

MOST_CHAIN_BYTES = 16_384

_REMEMBERED = 256
_REMEMBERED_FOR = timedelta(minutes=1)
# Begun as in TLS 1.3 (RFC 8446, 4.4.3): the same key signs handshakes, and of those of TLS 1.2 the
# first 32 bytes are chosen by the other side.
_LABEL = b" " * 64 + b"Portico, signature of a process, 1\0"
_PSS = padding.PSS(padding.MGF1(SHA256()), padding.PSS.DIGEST_LENGTH)
_ECDSA = ec.ECDSA(SHA256())
_LEAST_EC_BITS = 256
_LEAST_RSA_BITS = 2048
_KEYS = (
    f"the key of a process is Ed25519, EC of {_LEAST_EC_BITS} bits or RSA of {_LEAST_RSA_BITS},"
    " or longer"
)
_UNUSABLE = (
    UnsupportedAlgorithm,
    ValueError,
    VerificationError,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


class Signatures:
    """Signs as one process, and says which modules the process that made a signature runs.

    Raises CertificateError when other processes would not accept what is signed with
    ``certificates``: that a connection with them works does not say so, since TLS asks for less.

    Chains that have been verified are remembered for a minute, 256 of them, and forgotten when the
    files of ``certificates`` are renewed.
    """

    def __init__(self, certificates: Certificates, *, clock: Clock) -> None:
        self._certificates = certificates
        self._clock = clock
        self._in_use = _InUse.of(*certificates.current())
        self.sign(b"")

    def sign(self, digest: bytes) -> tuple[bytes, bytes]:
        """The chain of this process, and the signature by its key over the chain and ``digest``.

        Raises CertificateError when others would refuse it: nobody renewed the certificate in time,
        or with one that is no use for this.
        """
        in_use = self._current()
        in_use.signer(in_use.chain, self._clock.now())
        return in_use.chain, _signature(in_use.key, _signed(in_use.chain, digest))

    def modules(self, chain: bytes, signature: bytes, digest: bytes) -> frozenset[str]:
        """The modules named in the certificate that ``digest`` was signed with.

        Raises CertificateError unless the chain leads to an authority in use, now, and the signature
        is by its key.
        """
        signer = self._current().signer(chain, self._clock.now())
        try:
            _verify(signer.key, signature, _signed(chain, digest))
        except InvalidSignature:
            raise CertificateError("the signature is not by the key of its certificate") from None
        return signer.modules

    def _current(self) -> _InUse:
        bundle, renewals = self._certificates.current()
        in_use = self._in_use
        if renewals != in_use.renewals:
            in_use = self._in_use = _InUse.of(bundle, renewals)
        return in_use


@dataclass(frozen=True, slots=True)
class _Signer:
    """What a verified chain says, and until when it need not be verified again."""

    key: _Key
    modules: frozenset[str]
    until: datetime


@dataclass(frozen=True, slots=True)
class _InUse:
    """The files of a process as they were after so many renewals, and the chains found good by them."""

    renewals: int
    key: PrivateKeyTypes
    chain: bytes
    policy: PolicyBuilder
    known: dict[bytes, _Signer] = field(default_factory=dict)

    @staticmethod
    def of(bundle: Bundle, renewals: int) -> _InUse:
        certificates = x509.load_pem_x509_certificates(bundle.certificate)
        return _InUse(
            renewals,
            load_pem_private_key(bundle.key, password=None),
            framing.joined([each.public_bytes(Encoding.DER) for each in certificates]),
            _policy(x509.load_pem_x509_certificates(bundle.authority)),
        )

    def signer(self, chain: bytes, now: datetime) -> _Signer:
        """Whose ``chain`` it is. CertificateError unless it leads to one of the authorities, ``now``."""
        signer = self.known.get(chain)
        if signer is None or now >= signer.until:
            signer = self.verified(chain, now)
            if len(self.known) >= _REMEMBERED:
                self.known.clear()
            self.known[chain] = signer
        return signer

    def verified(self, chain: bytes, now: datetime) -> _Signer:
        if len(chain) > MOST_CHAIN_BYTES:
            raise CertificateError(
                f"a chain of certificates has {MOST_CHAIN_BYTES} bytes at the most, not {len(chain)}"
            )
        try:
            first, *others = map(x509.load_der_x509_certificate, framing.parted(chain))
            verified = self.policy.time(now).build_client_verifier().verify(first, others)
            key = _usable(first.public_key())
        except _UNUSABLE as failure:
            raise CertificateError(
                f"the certificate is not good now, or of none of the authorities: {failure}"
            ) from failure
        expires_at = min(each.not_valid_after_utc for each in verified.chain)
        return _Signer(
            key, _modules(verified.subjects or ()), min(expires_at, now + _REMEMBERED_FOR)
        )


def _policy(authorities: list[x509.Certificate]) -> PolicyBuilder:
    """That of browsers, but for two extensions that OpenSSL may leave out and that TLS does without."""
    authority = ExtensionPolicy.webpki_defaults_ca().may_be_present(
        x509.KeyUsage, Criticality.AGNOSTIC, _issues
    )
    process = (
        ExtensionPolicy.webpki_defaults_ee()
        .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _signs)
        .may_be_present(x509.AuthorityKeyIdentifier, Criticality.AGNOSTIC, None)
    )
    return (
        PolicyBuilder()
        .store(Store(authorities))
        .extension_policies(ca_policy=authority, ee_policy=process)
    )


def _issues(_policy: Policy, _of: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("an authority's key is not one that signs certificates")


def _signs(_policy: Policy, _of: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.digital_signature:
        raise ValueError("its key is not one that signs")


def _modules(names: Iterable[x509.GeneralName]) -> frozenset[str]:
    uris = [each.value for each in names if isinstance(each, x509.UniformResourceIdentifier)]
    return frozenset([uri.removeprefix(MODULE_URI) for uri in uris if uri.startswith(MODULE_URI)])


def _signed(chain: bytes, digest: bytes) -> bytes:
    """What the key signs. With the chain, so that nobody puts another certificate of the same key there."""
    return _LABEL + hashlib.sha256(chain).digest() + digest


def _signature(key: PrivateKeyTypes, text: bytes) -> bytes:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(text, _ECDSA)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(text, _PSS, SHA256())
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(text)
    raise CertificateError(_KEYS)


def _usable(key: PublicKeyTypes) -> _Key:
    """The key of a process, once it is one that is worth anything: a policy looks at issuers' keys only."""
    if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size >= _LEAST_EC_BITS:
        return key
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _LEAST_RSA_BITS:
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    raise CertificateError(_KEYS)


def _verify(key: _Key, signature: bytes, text: bytes) -> None:
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, text, _ECDSA)
    elif isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, text, _PSS, SHA256())
    else:
        key.verify(signature, text)
