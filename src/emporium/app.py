"""Emporium: the list of its modules, and what they share. The only file that knows them all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from commerce.auth.v1.auth_service_pb2 import GetJwksRequest
from commerce.auth.v1.auth_service_pb2_grpc import AuthServiceStub

from emporium.auth.module import module as auth
from emporium.catalog.module import module as catalog
from emporium.inventory.module import module as inventory
from emporium.orders.module import module as orders
from emporium.payments.module import module as payments
from emporium.users.module import module as users
from portico import Access, Application
from portico.security.keys import public_keys
from portico.security.tokens import TokenAuthenticator

if TYPE_CHECKING:
    import grpc

    from portico.clock import Clock
    from portico.settings import Settings

_WELCOME = """\
Accounts of the demonstration:
  demo@example.com      demo-password       customer usr_8923a10f
  admin@example.com     admin-password      administrator
  business@example.com  business-password   business biz_demo

A first order, to be pasted as it is:
  curl -s {rest}/api/v1/orders -H 'Content-Type: application/json' \
-H "Authorization: Bearer $(curl -s {rest}/api/v1/auth/login -H 'Content-Type: application/json' \
-d '{{"email": "demo@example.com", "password": "demo-password"}}' \
| sed 's/.*"accessToken": *"\\([^"]*\\)".*/\\1/')" \
-d '{{"customerId": "usr_8923a10f", "items": [{{"productId": "prod_7721", "quantity": 2}}], \
"paymentMethod": "pm_visa_9832"}}'

Ctrl-C stops everything."""


def _authenticator(channel: grpc.Channel, settings: Settings, clock: Clock) -> TokenAuthenticator:
    """Access tokens, checked with the keys that auth publishes."""
    stub = AuthServiceStub(channel)
    return TokenAuthenticator(
        keys=lambda: public_keys(stub.GetJwks(GetJwksRequest()).keys),
        issuer=settings.section(auth.name).model_dump()["issuer"],
        clock=clock,
    )


def _folder(name: str) -> Path:
    """Inside the package when it was installed from a wheel, at the top of the tree in a checkout."""
    packaged = Path(__file__).parent / name
    return packaged if packaged.exists() else Path(__file__).parents[2] / name


application = Application(
    name="emporium",
    modules=[auth, users, catalog, inventory, orders, payments],
    migrations=_folder("migrations"),
    topologies=_folder("topologies"),
    authenticator=_authenticator,
    default_access=Access.SIGNED_IN,
    welcome=_WELCOME,
)
