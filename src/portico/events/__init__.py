"""Events: what a module says has happened, delivered to those who react after the commit.

A module is given :class:`Events` to publish, and marks its reactions with :func:`reacts_to`; whoever
starts the program makes the :class:`Relay`.
"""

from __future__ import annotations

from portico.events.doorbell import Doorbell
from portico.events.publisher import Events
from portico.events.reactions import Reaction, reactions_of, reacts_to
from portico.events.relay import Relay, RelaySettings

__all__ = ["Doorbell", "Events", "Reaction", "Relay", "RelaySettings", "reactions_of", "reacts_to"]
