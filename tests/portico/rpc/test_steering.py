"""Which members of a port's group get its new connections, asked of the kernel itself."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from portico.rpc.steering import steer
from portico.supervise.groups import Groups

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone steers")

_TRIES = 60


class Member:
    def __init__(self, port: int = 0) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.socket.bind(("127.0.0.1", port))
        self.socket.listen(_TRIES)
        self.socket.settimeout(0)
        self.port = self.socket.getsockname()[1]

    def accepted(self) -> int:
        count = 0
        while True:
            try:
                self.socket.accept()[0].close()
            except BlockingIOError:
                return count
            count += 1


@pytest.fixture
def members() -> Iterator[list[Member]]:
    first = Member()
    found = [first, *(Member(first.port) for _ in range(3))]
    yield found
    for member in found:
        member.socket.close()


def _connected(port: int, members: list[Member]) -> set[Member]:
    """Those of the members that a crowd of new connections came to."""
    with ExitStack() as stack:
        for _ in range(_TRIES):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        counts = {member: member.accepted() for member in members}
    assert sum(counts.values()) == _TRIES
    return {member for member, count in counts.items() if count}


@pytest.mark.parametrize("chosen", [(0,), (3,), (1, 2), (3, 0, 2), (0, 1, 2, 3)])
def test_new_connections_go_to_the_chosen_ones_alone(
    chosen: tuple[int, ...], members: list[Member]
) -> None:
    port = members[0].port
    assert steer(port, chosen)
    assert _connected(port, members) == {members[place] for place in chosen}


def test_without_steering_they_go_to_all(members: list[Member]) -> None:
    assert _connected(members[0].port, members) == set(members)


def test_a_choice_of_nobody_steers_nothing(members: list[Member]) -> None:
    assert not steer(members[0].port, ())
    assert _connected(members[0].port, members) == set(members)


def test_where_the_chosen_one_has_gone_the_others_get_them(members: list[Member]) -> None:
    port = members[0].port
    steer(port, (3,))
    members[3].socket.close()
    assert _connected(port, members[:3]) == set(members[:3])


def test_a_port_on_which_this_process_does_not_listen_cannot_be_steered() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert not steer(bound.getsockname()[1], (0,))


def test_the_order_of_a_group_is_the_kernels_whoever_ends(members: list[Member]) -> None:
    port = members[0].port
    groups: Groups[Member] = Groups()
    for member in members:
        groups.join(member, [port])
    running = list(members)
    for ending, leaving in ((members[1], members[3]), (members[0], members[2])):
        ending.socket.close()
        groups.leave(ending)
        running.remove(ending)
        staying = groups.without([leaving], port)
        assert steer(port, [*staying])
        assert _connected(port, running) == set(staying.values()) == set(running) - {leaving}
        newcomer = Member(port)
        members.append(newcomer)
        running.append(newcomer)
        groups.join(newcomer, [port])
