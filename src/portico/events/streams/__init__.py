"""Events between processes by Redis Streams: the other carrier, beside the call.

Each process that reacts to anything has a stream; its workers are one consumer group. A sender appends
some events and waits for the answer, which is a list of its own. Redis holds nothing that is not in
the sender's table as well: an entry or an answer that is lost is sent again, and the inboxes know
repeats. Keys end by themselves.
"""

from __future__ import annotations

from portico.events.streams.reader import StreamReader
from portico.events.streams.streams import Streams

__all__ = ["StreamReader", "Streams"]
