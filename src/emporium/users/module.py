"""The module users: what it provides, and how it is put together."""

from __future__ import annotations

from commerce.users.v1.users_service_pb2_grpc import add_UsersServiceServicer_to_server

from emporium.users.service import UsersService
from portico.module import Module

module = Module(
    name="users",
    provides={add_UsersServiceServicer_to_server: UsersService},
    owns_data=True,
)
