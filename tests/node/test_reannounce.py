"""Own announces follow the nodes closest to their name; stale holders of an item are given the newer one."""

from __future__ import annotations

from typing import cast

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from grape.dht.errors import Overloaded
from grape.dht.routing import RoutingTable
from grape.krpc.traversal import WriteOutcome
from grape.node.reannounce import Reannouncer
from grape.protocol import DHTProtocol
from grape.testing import MemoryNetwork, host_name, make_grape, make_grapes
from grape.testing.clock import HeapClock
from tests.simulation import Key

MAX_AGE = 240.0


class BusySocket:
    """A protocol that begins no announce while it is busy."""

    def __init__(self, table: RoutingTable) -> None:
        self.table = table
        self.is_busy = True
        self.refused = 0
        self.taken: list[bytes] = []

    def announce_peer(self, key: bytes, port: int, age: int = 0) -> Deferred[WriteOutcome]:
        if self.is_busy:
            self.refused += 1
            return fail(Overloaded())
        self.taken.append(key)
        return succeed(WriteOutcome(1, 1, 0, (), frozenset([b"n" * 20])))


def test_node_that_comes_closer_is_given_the_announce_with_its_age() -> None:
    network = MemoryNetwork(seed=1)
    grapes = make_grapes(network, 3)
    assert network.result(grapes[1].announce("rest:util:net", 1337)) == 2
    network.clock.advance(100)
    newcomer = make_grape(network, 4)
    network.clock.advance(10)
    assert newcomer.stats().services == 1
    network.clock.advance(MAX_AGE - 110 - 0.5)
    assert network.result(newcomer.lookup("rest:util:net")) == ["10.0.0.2:1337"]
    network.clock.advance(1)
    assert network.result(newcomer.lookup("rest:util:net")) == []


def test_holders_that_died_are_replaced() -> None:
    network = MemoryNetwork(seed=4)
    grapes = make_grapes(network, 40)
    assert network.result(grapes[0].announce("rest:util:net", 1337)) == 20
    holders = [index for index, grape in enumerate(grapes) if index and grape.stats().services]
    dead = holders[:15]
    for index in dead:
        network.kill(host_name(index + 1))
    # Lookups are what shows, soon, that nodes are dead.
    for n in range(40):
        network.result(grapes[0].lookup(f"other:{n}"))
    network.clock.advance(35)
    live = [grape for index, grape in enumerate(grapes) if index and index not in dead]
    assert sum(bool(grape.stats().services) for grape in live) >= 18
    assert 1 <= grapes[0].stats().counters["renewed"] <= 3


def test_announce_is_not_repeated_in_a_ring_that_lost_a_node() -> None:
    network = MemoryNetwork(seed=5)
    grapes = make_grapes(network, 4)
    assert network.result(grapes[0].announce("rest:util:net", 1337)) == 3
    network.kill("10.0.0.4")
    for n in range(40):
        network.result(grapes[0].lookup(f"other:{n}"))
    network.clock.advance(60)
    assert grapes[0].stats().contacts == 2
    assert grapes[0].stats().counters["renewed"] == 0


def test_checks_of_many_announces_come_to_an_end() -> None:
    network = MemoryNetwork(seed=6)
    grapes = make_grapes(network, 3)
    for n in range(1_100):
        network.result(grapes[0].announce(f"service:{n}", 1337))
    make_grape(network, 4)
    network.clock.advance(120)
    assert grapes[0].stats().counters["renewed"] == 1_100
    assert grapes[0].node._services.reannouncer._timer is None


def test_announce_that_is_too_old_is_not_repeated() -> None:
    network = MemoryNetwork(seed=2)
    grapes = make_grapes(network, 3)
    network.result(grapes[1].announce("a", 1))
    network.clock.advance(MAX_AGE + 1)
    newcomer = make_grape(network, 4)
    network.clock.advance(10)
    assert newcomer.stats().services == 0


def test_get_updates_stale_holders() -> None:
    network = MemoryNetwork(seed=3)
    grapes = make_grapes(network, 4)
    key = Key(1)
    network.result(key.put(grapes[0], "one", 1))
    # Host 4 misses the second put.
    network.partition(["10.0.0.4"])
    hash = network.result(key.put(grapes[0], "two", 2))
    network.clock.advance(5)
    network.heal()
    network.clock.advance(60)
    got = network.result(grapes[0].get(hash))
    assert got is not None
    assert got.item.seq == 2
    network.clock.advance(1)
    again = network.result(grapes[3].get(hash, cache=True))
    assert again is not None
    assert again.item.seq == 2
    assert grapes[0].stats().counters["repaired"] == 1


@pytest.mark.parametrize("salt", [b"", b"salt"])
def test_get_updates_stale_holders_from_the_own_copy(salt: bytes) -> None:
    network = MemoryNetwork(seed=4)
    grapes = make_grapes(network, 3)
    key = Key(1)
    network.result(key.put(grapes[0], "one", 1, salt=salt))
    network.partition(["10.0.0.2"])
    hash = network.result(key.put(grapes[0], "two", 2, salt=salt))
    network.clock.advance(5)
    network.heal()
    network.clock.advance(60)
    # The third holds the newer one, and no other that it asks does.
    got = network.result(grapes[2].get(hash, salt))
    assert got is not None
    assert (got.local, got.item.seq) == (True, 2)
    network.clock.advance(1)
    again = network.result(grapes[1].get(hash, salt, cache=True))
    assert again is not None
    assert again.item == got.item
    assert grapes[2].stats().counters["repaired"] == 1
    network.result(grapes[2].get(hash, salt))
    assert grapes[2].stats().counters["repaired"] == 1


def test_renewals_refused_for_too_many_queries_are_retried() -> None:
    clock = HeapClock()
    table = RoutingTable(bytes(20))
    table.heard(b"n" * 20, ("10.0.0.2", 20_001), 0.0)
    socket = BusySocket(table)
    replicas = Reannouncer(clock, MAX_AGE, lambda: cast(DHTProtocol, socket))
    for n in range(600):
        replicas.announced(b"%d" % n, 1)
    replicas.contacts_changed()
    clock.advance(10)
    assert not socket.taken
    assert socket.refused > 16
    socket.is_busy = False
    clock.advance(60)
    assert sorted(socket.taken) == sorted(b"%d" % n for n in range(600))
    # Each once, and then there is peace.
    assert not clock.getDelayedCalls()
