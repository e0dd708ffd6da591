"""The peer store shares its room fairly among those who announce."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from grape.dht.compact import Address
from grape.store import MemoryPeers

KEY = b"rest:util:net"
HONEST = ("10.0.0.1", 1_337)
INTRUDER = ("10.6.6.6", 666)


@pytest.fixture
def dice() -> random.Random:
    return random.Random(1)


def drown(store: MemoryPeers, announcers: Sequence[Address], each: int = 9_000) -> None:
    for announcer in announcers:
        for port in range(1, each + 1):
            store.announce(KEY, (announcer[0], port), 1.0, announcer)


def test_nine_thousand_announces_from_one_address_do_not_hide_an_honest_peer(dice: random.Random) -> None:
    store = MemoryPeers(240)
    store.announce(KEY, HONEST, 0.0, HONEST)
    drown(store, [INTRUDER])
    assert len(store.peers(KEY, 1.0)) == 129
    for _ in range(100):
        assert HONEST in store.sample(KEY, 100, 1.0, dice.sample)
    assert store.evictions.peers == 9_000 - 128


def test_the_same_host_may_hold_the_honest_peer(dice: random.Random) -> None:
    store = MemoryPeers(240)
    store.announce(KEY, ("127.0.0.1", 1_337), 0.0, ("127.0.0.1", 20_001))
    drown(store, [("127.0.0.1", 666)])
    # The intruder's own announce of that very port would be the only way to touch it.
    assert all(("127.0.0.1", 1_337) in store.sample(KEY, 100, 1.0, dice.sample) for _ in range(20))


def test_a_full_key_takes_from_its_largest_announcer() -> None:
    store = MemoryPeers(240, max_peers_per_key=10, max_peers_per_announcer=100)
    drown(store, [INTRUDER], 9)
    for n in range(1, 6):
        store.announce(KEY, ("10.0.0.1", n), 2.0, (f"10.0.0.{n}", 1))
    peers = store.peers(KEY, 2.0)
    assert len(peers) == 10
    assert [peer for peer in peers if peer[0] == "10.0.0.1"] == [("10.0.0.1", n) for n in range(1, 6)]
    assert [peer for peer in peers if peer[0] == "10.6.6.6"] == [("10.6.6.6", n) for n in range(5, 10)]


def test_long_names_are_bounded_by_their_bytes() -> None:
    store = MemoryPeers(240, max_bytes=1_000_000)
    for n in range(1_000):
        store.announce(b"%d" % n + b"x" * 8_000, HONEST, 0.0)
    assert 90 < len(store) < 125
    assert store.evictions.keys == 1_000 - len(store)
    store.expire(1_000)
    store.announce(KEY, HONEST, 1_000)
    assert len(store) == 1


def test_an_announce_with_an_age_keeps_it() -> None:
    store = MemoryPeers(240)
    store.announce(KEY, HONEST, 100.0)
    store.announce(KEY, ("10.0.0.2", 1), 100.0, age=200.0)
    store.announce(KEY, HONEST, 100.0, age=50.0)
    store.announce(KEY, ("10.0.0.3", 1), 100.0, age=300.0)
    assert store.peers(KEY, 139.9) == [("10.0.0.2", 1), HONEST]
    assert store.peers(KEY, 140.0) == [HONEST]
    assert store.peers(KEY, 339.9) == [HONEST]
    assert store.peers(KEY, 340.0) == []


def test_ten_thousand_made_up_names_from_one_host_evict_none_of_anybody_elses(dice: random.Random) -> None:
    store = MemoryPeers(240, max_keys=1_000)
    store.announce(KEY, HONEST, 0.0, HONEST)
    for n in range(10_000):
        store.announce(b"made up %d" % n, INTRUDER, 1.0, INTRUDER)
    assert len(store) == 1_000
    assert store.sample(KEY, 100, 1.0, dice.sample) == [HONEST]
    assert store.evictions.keys == 9_001
    store.expire(1_000)
    assert len(store) == 0


def test_a_host_with_many_ports_has_one_turn_among_hosts(dice: random.Random) -> None:
    store = MemoryPeers(240, max_peers_per_key=500)
    store.announce(KEY, HONEST, 0.0, HONEST)
    for port in range(1, 2_001):
        store.announce(KEY, (INTRUDER[0], port), 1.0, (INTRUDER[0], port))
    assert len(store.peers(KEY, 1.0)) == 500
    assert all(HONEST in store.sample(KEY, 100, 1.0, dice.sample) for _ in range(20))
