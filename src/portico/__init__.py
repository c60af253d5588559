"""Portico is a kernel for modular monoliths whose module boundaries are plain gRPC contracts."""

from __future__ import annotations

from pkgutil import extend_path

# The kernel's own contracts (portico.v1, portico.lab.v1) are generated into another import root.
__path__ = extend_path(__path__, __name__)
