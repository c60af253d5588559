"""What is written into Redis: requests on the stream of a process, and the answers to them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from portico.events.carrier import REFUSAL
from portico.events.receiver import UnreachableError
from portico.rpc.status import DETAILS_KEY, from_parts, to_status
from portico.security.seals import SealError
from portico.v1 import events_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from portico.clock import Clock
    from portico.errors import StatusError
    from portico.security.seals import Seals

_TAKEN, _REFUSED = b"+", b"-"

# For who can write into Redis without the secret, and puts an old letter there again under a new number:
# inboxes remember events for much longer. How long its sender waits for an answer is told by Redis's clock.
_GOOD_SECONDS = 3600

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class LetterError(Exception):
    """Somebody wrote what is no letter of this application; the message says what is wrong."""


@dataclass(frozen=True)
class Box:
    """The keys of one process, and what letters to it are sealed with."""

    application: str
    process: str
    seals: Seals
    clock: Clock

    @cached_property
    def stream(self) -> str:
        """Where its requests are."""
        return f"portico:{self.application}:events:{self.process}"

    @property
    def present(self) -> str:
        """There while anybody reads them."""
        return f"{self.stream}:present"

    def answer(self, name: str) -> str:
        """Where the answer to the request ``name`` will be."""
        return f"{self.stream}:answer:{name}"


class Letter(NamedTuple):
    """A request, as its reader sees it."""

    name: str
    request: pb.DeliverRequest
    seconds: float
    """So long the sender waits, from when it was put on the stream."""
    modules: frozenset[str] | None
    """Those in the sender's certificate; None where certificates are not in use."""

    def certified(self, module: str) -> bool:
        """Whether the sender has a certificate of ``module``."""
        return self.modules is not None and module in self.modules


def write(box: Box, name: str, request: pb.DeliverRequest, *, seconds: float) -> dict[Any, Any]:
    """The fields of an entry of the stream. ``name`` must never have been used."""
    patience, sent = f"{seconds:.3f}", f"{box.clock.now().timestamp():.0f}"
    body = request.SerializeToString()
    return {
        "name": name,
        "seconds": patience,
        "sent": sent,
        "body": box.seals.seal(body, about=_about(box, name, patience, sent)),
    }


def read(box: Box, fields: Mapping[bytes, bytes]) -> Letter:
    """What an entry says. Raises LetterError unless it was written with the same secret, for this process."""
    try:
        name, patience, sent = (fields[key].decode() for key in (b"name", b"seconds", b"sent"))
        opened = box.seals.open(fields[b"body"], about=_about(box, name, patience, sent))
    except (KeyError, UnicodeDecodeError) as failure:
        raise LetterError(f"it has not the fields of a letter: {failure}") from failure
    except SealError as failure:
        raise LetterError(str(failure)) from failure
    # Sealed by a process of the application: from here on it is what ``write`` has written, or another version.
    if abs(box.clock.now().timestamp() - float(sent)) > _GOOD_SECONDS:
        raise LetterError("it is too old, or the clocks of two processes differ")
    try:
        request = pb.DeliverRequest.FromString(opened.body)
    except DecodeError as failure:  # else it would come again and again
        raise LetterError(f"it is no request: {failure}") from failure
    return Letter(name, request, float(patience), opened.modules)


def write_answer(box: Box, name: str, answer: pb.DeliverResponse | StatusError) -> bytes:
    """The answer to the request ``name``: what became of the events, or a refusal of all."""
    if isinstance(answer, pb.DeliverResponse):
        body = _TAKEN + answer.SerializeToString()
    else:
        body = _REFUSED + to_status(answer).SerializeToString()
    return box.seals.seal(body, about=_about_answer(box, name))


def read_answer(
    box: Box, name: str, sealed: bytes, *, modules: Collection[str]
) -> pb.DeliverResponse:
    """What became of the events, which were for ``modules``.

    Raises StatusError for a refusal, UnreachableError when it is no answer: not sealed, or, where
    certificates are in use, by a process that has none of one of these modules.
    """
    try:
        opened = box.seals.open(sealed, about=_about_answer(box, name))
    except SealError as failure:
        raise UnreachableError(f"an answer of {box.process} cannot be read: {failure}") from failure
    foreign = set() if opened.modules is None else set(modules) - opened.modules
    if foreign:
        raise UnreachableError(
            f"an answer for {box.process} comes from who has no certificate of module {min(foreign)}"
        )
    body = opened.body
    if body[:1] == _TAKEN:
        return pb.DeliverResponse.FromString(body[1:])
    status = status_pb2.Status.FromString(body[1:])
    trailing = ((DETAILS_KEY, body[1:]),)
    refusal = from_parts(_CODES[status.code], status.message, trailing=trailing)
    if refusal.reason != REFUSAL:  # which says nothing about the events
        raise UnreachableError(f"{refusal.code().name}: {refusal.details()}")
    raise refusal


def _about(box: Box, name: str, patience: str, sent: str) -> str:
    """What a request's seal holds together with it: no field can be changed or used for another."""
    return f"request {box.stream}\n{name}\n{patience}\n{sent}"


def _about_answer(box: Box, name: str) -> str:
    return f"answer {box.stream}\n{name}"
