"""The servicer of users."""

from __future__ import annotations

import grpc
from commerce.users.v1 import users_service_pb2 as messages
from commerce.users.v1.user_pb2 import User
from commerce.users.v1.users_service_pb2_grpc import UsersServiceServicer

from emporium.users import model, store, wire
from portico.clock import Clock
from portico.context import current
from portico.data import Database
from portico.events import Events


class UsersService(UsersServiceServicer):
    """Makes, shows and erases users."""

    def __init__(self, *, database: Database, events: Events, clock: Clock) -> None:
        self._database = database
        self._events = events
        self._clock = clock

    def CreateUser(
        self, request: messages.CreateUserRequest, context: grpc.ServicerContext
    ) -> messages.CreateUserResponse:
        new, now = wire.new_user(request), self._clock.now()
        with self._database.unit_of_work() as session:
            user = store.add(session, new, now=now)
            if user is None:
                return wire.created(model.made_before(new, store.rivals(session, new)))
            created = wire.user_created(user)
            self._events.publish(session, created, aggregate_id=user.user_id)
            return wire.created(user)

    def EraseUser(
        self, request: messages.EraseUserRequest, context: grpc.ServicerContext
    ) -> messages.EraseUserResponse:
        now = self._clock.now()
        with self._database.unit_of_work() as session:
            if store.erase(session, request.user_id, now=now):
                erased = wire.user_erased(request.user_id, now)
                self._events.publish(session, erased, aggregate_id=request.user_id)
        return messages.EraseUserResponse()

    def GetUser(self, request: messages.GetUserRequest, context: grpc.ServicerContext) -> User:
        user = None
        if model.may_see(current().identity, request.user_id):
            with self._database.reading() as session:
                user = store.find(session, request.user_id)
        if user is None:
            raise model.not_found(request.user_id)
        return wire.user_message(user)
