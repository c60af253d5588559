"""Two processes with certificates of one authority, and what somebody with their secret can make up."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from portico.clock import ManualClock
from portico.security import framing, signatures
from portico.security.seals import SealError, Seals, _digest, _heading
from tests.portico.security.issuing import Holder, Issuer, ec_key

SECRET = b"0123456789abcdef"
ABOUT = "events for payments"
BODY = b"an order was placed"


@dataclass
class Two:
    """A process that seals and one that opens, with certificates of one authority, and a clock."""

    root: Path
    clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        self.authority = Issuer(self.clock)
        self.key = ec_key()
        self.sender = self.holder("sender", self.key, self.authority.issue(self.key, "orders"))
        other = ec_key()
        self.receiver = self.holder("receiver", other, self.authority.issue(other, "payments"))
        self.opening = self.seals(self.receiver)

    def holder(
        self, name: str, key: Any, *chain: x509.Certificate, trusts: Issuer | None = None
    ) -> Holder:
        folder = self.root / name
        folder.mkdir()
        holder = Holder(folder, self.clock)
        holder.trust(trusts or self.authority)
        holder.put(key, *chain)
        return holder

    def seals(self, holder: Holder) -> Seals:
        return Seals(SECRET, certificates=holder.certificates(), clock=self.clock)

    def seal(self) -> bytes:
        return self.seals(self.sender).seal(BODY, about=ABOUT)

    def open(self, sealed: bytes) -> set[str]:
        opened = self.opening.open(sealed, about=ABOUT)
        assert opened.body == BODY
        assert opened.modules is not None
        return set(opened.modules)

    def refusal(self, sealed: bytes) -> str:
        with pytest.raises(SealError) as caught:
            self.opening.open(sealed, about=ABOUT)
        return str(caught.value)


def forged(chain: bytes, signature: bytes) -> bytes:
    """A message of somebody who has the secret and writes what they like for the rest."""
    content = framing.joined((chain, signature)) + BODY
    code = Seals(SECRET, clock=ManualClock())._code(_heading(ABOUT), content)
    return b"\x01" + code + content


def signed(key: Any, *chain: x509.Certificate) -> bytes:
    """A message of somebody who has the secret and ``key``, and shows ``chain`` for it."""
    packed = framing.joined([each.public_bytes(Encoding.DER) for each in chain])
    text = signatures._signed(packed, _digest(_heading(ABOUT), BODY))
    return forged(packed, signatures._signature(key, text))
