"""Events: what a module says has happened, delivered to those who react after the commit.

A module is given :class:`Events` to publish, and marks its reactions with :func:`reacts_to`; whoever
starts the program makes the :class:`Relay`, and tells it of the other processes' reactions with
:class:`Elsewhere`.
"""

from __future__ import annotations

from portico.events.doorbell import Doorbell
from portico.events.elsewhere import Elsewhere
from portico.events.intercom import Intercom
from portico.events.neighbour import Neighbour
from portico.events.publisher import Events
from portico.events.reactions import Reaction, reacted_to, reactions_of, reacts_to
from portico.events.relay import Relay
from portico.events.servicer import EventsServicer
from portico.events.settings import RelaySettings

__all__ = [
    "Doorbell",
    "Elsewhere",
    "Events",
    "EventsServicer",
    "Intercom",
    "Neighbour",
    "Reaction",
    "Relay",
    "RelaySettings",
    "reacted_to",
    "reactions_of",
    "reacts_to",
]
