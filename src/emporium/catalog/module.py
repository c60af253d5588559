"""The module catalog: what it provides, and how it is put together."""

from __future__ import annotations

from commerce.catalog.v1.catalog_service_pb2_grpc import add_CatalogServiceServicer_to_server

from emporium.catalog.demonstration import Demonstration
from emporium.catalog.service import CatalogService
from portico.module import Module

module = Module(
    name="catalog",
    provides={add_CatalogServiceServicer_to_server: CatalogService},
    owns_data=True,
    demonstration=Demonstration,
)
