"""The laboratory: what a call costs in process, and what over the network."""

from __future__ import annotations

from pkgutil import extend_path

# Its contract, portico.lab.v1, is generated into another import root.
__path__ = extend_path(__path__, __name__)
