"""grape.node.reannounce: own announces follow the nodes closest to their keys; gets update stale holders of an item."""

from __future__ import annotations

from typing import cast

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import LogEvent

from grape.dht.errors import Overloaded
from grape.dht.routing import RoutingTable
from grape.krpc.traversal import WriteOutcome
from grape.node.reannounce import PAUSE_SECONDS, RETRY_SECONDS, Reannouncer
from grape.protocol import DHTProtocol
from grape.testing import MemoryNetwork, host_name, make_grape, make_grapes
from grape.testing.clock import HeapClock
from tests.simulation import Key

MAX_AGE = 240.0


class FailingSocket:
    """A protocol with one contact whose announces fail with ``error``; without one the contact accepts them."""

    def __init__(self, clock: HeapClock, error: Exception | None) -> None:
        self.table = RoutingTable(bytes(20))
        self.table.heard(b"n" * 20, ("10.0.0.2", 20_001), 0.0)
        self.error = error
        self.attempts: list[float] = []
        self.taken: list[bytes] = []
        self._clock = clock

    def announce_peer(self, key: bytes, port: int, age: int = 0, made_ago: int | None = None) -> Deferred[WriteOutcome]:
        self.attempts.append(self._clock.seconds())
        if self.error is not None:
            return fail(self.error)
        self.taken.append(key)
        return succeed(WriteOutcome(1, 1, 0, (), frozenset([b"n" * 20])))

    def protocol(self) -> DHTProtocol:
        return cast(DHTProtocol, self)


def test_node_that_comes_closer_is_given_the_announce_with_its_age(network: MemoryNetwork) -> None:
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
    # Lookups soon show that nodes are dead.
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
    network.clock.advance(60)
    assert grapes[0].stats().counters["renewed"] == 1_100


def test_announce_that_is_too_old_is_not_repeated() -> None:
    network = MemoryNetwork(seed=2)
    grapes = make_grapes(network, 3)
    network.result(grapes[1].announce("a", 1))
    network.clock.advance(MAX_AGE + 1)
    newcomer = make_grape(network, 4)
    network.clock.advance(10)
    assert newcomer.stats().services == 0


def test_announce_that_is_too_old_is_no_more_counted_though_no_contact_comes_or_goes(network: MemoryNetwork) -> None:
    first, _ = make_grapes(network, 2)
    network.result(first.announce("rest:util:net", 1337))
    network.result(first.announce("rest:util:short", 1338, ttl=100))
    reannouncer = first.node._services.reannouncer
    network.clock.advance(170)
    assert reannouncer.announces() == [(b"rest:util:net", 1337)]
    network.clock.advance(140)
    assert len(reannouncer) == 0


def test_announces_of_a_network_without_an_age_stay() -> None:
    clock = HeapClock()
    gone: list[tuple[bytes, int]] = []
    for max_age, left in ((0.0, 1), (MAX_AGE, 0)):
        socket = FailingSocket(clock, None)
        reannouncer = Reannouncer(clock, max_age, socket.protocol, changed=lambda key, port: gone.append((key, port)))
        reannouncer.announced(b"key", 1, frozenset([b"n" * 20]))
        reannouncer.expire(clock.seconds() + MAX_AGE)
        assert len(reannouncer) == left
    assert gone == [(b"key", 1)] * 3


def test_get_updates_stale_holders() -> None:
    network = MemoryNetwork(seed=3)
    grapes = make_grapes(network, 4)
    key = Key(1)
    network.result(key.put(grapes[0], "one", 1))
    # Host 4 does not receive the second put.
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
    # The third grape holds the newer version itself.
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
    socket = FailingSocket(clock, Overloaded())
    reannouncer = Reannouncer(clock, MAX_AGE, socket.protocol)
    for n in range(600):
        reannouncer.announced(b"%d" % n, 1)
    reannouncer.contacts_changed()
    clock.advance(10)
    assert not socket.taken
    assert len(socket.attempts) > 16
    socket.error = None
    clock.advance(60)
    assert sorted(socket.taken) == sorted(b"%d" % n for n in range(600))
    # Each once, and then no timer is left.
    assert not clock.getDelayedCalls()


def test_renewal_that_failed_is_logged_and_retried_after_retry_seconds(logged_failures: list[LogEvent]) -> None:
    clock = HeapClock()
    socket = FailingSocket(clock, OSError("network is down"))
    reannouncer = Reannouncer(clock, MAX_AGE, socket.protocol)
    # Held by a node that is no contact: without the failure it would be left alone for PAUSE_SECONDS.
    reannouncer.announced(b"key", 1, frozenset([b"x" * 20]))
    clock.advance(PAUSE_SECONDS)
    reannouncer.contacts_changed()
    clock.advance(1)
    assert len(socket.attempts) == len(logged_failures) == 1
    socket.error = None
    clock.advance(2 * RETRY_SECONDS)
    first, second = socket.attempts
    assert RETRY_SECONDS <= second - first < RETRY_SECONDS + 1
    assert socket.taken == [b"key"]
    assert not clock.getDelayedCalls()
    logged_failures.clear()


def test_announces_beyond_max_announces_evict_the_oldest() -> None:
    clock, changed = HeapClock(), list[tuple[bytes, int]]()
    socket = FailingSocket(clock, None)
    reannouncer = Reannouncer(clock, MAX_AGE, socket.protocol, 2, lambda *announce: changed.append(announce))
    for key in (b"a", b"b", b"a", b"c"):
        reannouncer.announced(key, 1)
    assert reannouncer.announces() == [(b"a", 1), (b"c", 1)]
    assert changed[-2:] == [(b"c", 1), (b"b", 1)]
    assert reannouncer.made_at(b"b", 1) is None
    reannouncer.restore(b"d", 1, 0.0)
    assert reannouncer.announces() == [(b"c", 1), (b"d", 1)]


def test_max_announces_bounds_what_a_grape_repeats(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2, max_announces=1)
    for name in ("a", "b"):
        network.result(grapes[0].announce(name, 1337))
    newcomer = make_grape(network, 3)
    network.clock.advance(60)
    assert newcomer.stats().services == 1
    assert grapes[0].stats().counters["renewed"] == 1


def test_stopped_reannouncer_repeats_nothing_until_it_is_started() -> None:
    clock = HeapClock()
    socket = FailingSocket(clock, None)
    reannouncer = Reannouncer(clock, MAX_AGE, socket.protocol)
    reannouncer.announced(b"key", 1)
    reannouncer.stop()
    reannouncer.contacts_changed()
    clock.advance(10)
    assert not socket.attempts
    reannouncer.start()
    clock.advance(10)
    assert socket.taken == [b"key"]
