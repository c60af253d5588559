"""Who listens on each shared port, in the order in which the kernel knows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

Member = TypeVar("Member")


class Groups(Generic[Member]):
    """The members of each port's group, see ``portico.rpc.steering``.

    The kernel's order is followed, not read. When two members end in the same moment it may be wrong
    until the next change: then a connection goes to a process that is about to end, at the worst.
    """

    def __init__(self) -> None:
        self._members: dict[int, list[Member]] = {}

    def join(self, member: Member, ports: Sequence[int]) -> None:
        """``member`` listens on these ports now."""
        for port in ports:
            self._members.setdefault(port, []).append(member)

    def leave(self, member: Member) -> None:
        """``member`` has ended; the last of each group takes its place."""
        for members in self._members.values():
            if member in members:
                last = members.pop()
                if last is not member:
                    members[members.index(member)] = last

    def ports(self, member: Member) -> list[int]:
        """The ports on which ``member`` listens."""
        return [port for port, members in self._members.items() if member in members]

    def without(self, leaving: Collection[Member], port: int) -> dict[int, Member]:
        """Those who shall get the new connections of ``port``, by place: all but the ones that are leaving."""
        return {
            place: member
            for place, member in enumerate(self._members.get(port, ()))
            if member not in leaving
        }
