"""Withdrawals in rings of our grapes and reference grapes, which do not know them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from grape.dht.compact import decode_nodes
from tests.live.conftest import StartReference, StartRing
from tests.live.items import new_name
from tests.live.krpc import Peer
from tests.live.processes import HOST, Api, until

WITHDRAWALS = 1_000


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Provides some threads for calls."""
    with ThreadPoolExecutor(6) as pool:
        yield pool


def tables(ring: Sequence[Api]) -> list[set[int]]:
    """Returns, for each member of a ring, the UDP ports of those members that are in its routing table."""
    ports = {api.dht_port for api in ring}
    # A new one each time: the lookups of those that it asked fill its socket.
    with Peer() as peer:
        answers = [peer.query(api.dht_port, b"find_node", target=b"\x11" * 20) for api in ring]
    return [{port for _, (_, port) in decode_nodes(answer[b"r"][b"nodes"])} & ports for answer in answers]


def test_thousand_withdrawals_hold_in_our_grapes_and_change_no_table(
    pool: ThreadPoolExecutor, grape_ring: StartRing, reference_grapes: StartReference
) -> None:
    ours = [grape.api for grape in grape_ring(3)]
    theirs = reference_grapes(3, [api.node for api in ours])
    ring = [*ours, *theirs]
    until("all know each other", lambda: all(len(table) == 5 for table in tables(ring)), 30)
    services = [(new_name(), 1_024 + number, ours[number % 3]) for number in range(WITHDRAWALS)]
    # A member that is slow to answer, on a busy machine, is not counted.
    assert set(pool.map(lambda service: service[2].call("announce", service[:2]), services)) <= {1, 2, 3, 4, 5}
    before = tables(ring)

    def withdraw(service: tuple[str, int, Api]) -> object:
        """Withdraws a service, and waits until it is gone; returns how many confirmed."""
        name, port, grape = service
        confirmed = grape.call("unannounce", [name, port])
        assert grape.call("lookup", name) == []
        until("it is gone", lambda: all(api.call("lookup", name) == [] for api in ours), 10)
        return confirmed

    assert set(pool.map(withdraw, services)) <= {1, 2}
    assert tables(ring) == before
    # The members from Node list them until their age; ours do not, though they are named them.
    name, port, grape = services[0]
    assert theirs[0].call("lookup", name) == [f"{HOST}:{port}"]
    assert grape.call("announce", [name, port]) >= 1
    until("it is back", lambda: all(api.call("lookup", name) == [f"{HOST}:{port}"] for api in ring), 10)


def test_service_withdrawn_through_the_last_of_our_grapes_in_a_ring_of_others_is_gone_there(
    grape_ring: StartRing, reference_grapes: StartReference
) -> None:
    (grape,) = [grape.api for grape in grape_ring(1)]
    theirs = reference_grapes(2, [grape.node])
    name = new_name()
    assert grape.call("announce", [name, 7]) == 2
    assert grape.call("unannounce", [name, 7]) == 0
    assert grape.call("lookup", name) == []
    assert theirs[0].call("announce", [name, 7]) >= 1
    until("it is back", lambda: grape.call("lookup", name) == [f"{HOST}:7"], 10)
