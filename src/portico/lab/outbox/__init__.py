"""Writers, relays and consumers of events, each a process of its own, for ``portico.lab.events``."""
