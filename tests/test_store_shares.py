"""grape.store: MemoryPeers shares its keys and peers fairly among hosts and announcers."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grape.dht.compact import Address
from grape.store import MemoryPeers

KEY = b"rest:util:net"
HONEST = ("10.0.0.1", 1_337)
INTRUDER = ("10.6.6.6", 666)


@pytest.fixture
def dice() -> random.Random:
    return random.Random(1)


def flood(store: MemoryPeers, announcers: Sequence[Address], each: int = 9_000) -> None:
    for announcer in announcers:
        for port in range(1, each + 1):
            store.announce(KEY, (announcer[0], port), 1.0, announcer)


def test_sample_shows_an_honest_peer_after_nine_thousand_announces_from_one_address(dice: random.Random) -> None:
    store = MemoryPeers(240)
    store.announce(KEY, HONEST, 0.0, HONEST)
    flood(store, [INTRUDER])
    assert len(store.peers(KEY, 1.0)) == 1_025
    for _ in range(100):
        assert HONEST in store.sample(KEY, 100, 1.0, dice.sample)
    assert store.counters.evicted_peers == store.counters.evicted_peers_of_announcer == 9_000 - 1_024


def test_sample_gives_each_of_a_thousand_peers_of_one_announcer_the_same_chance(dice: random.Random) -> None:
    store = MemoryPeers(240)
    flood(store, [INTRUDER], 1_000)
    assert store.counters.evicted_peers == 0
    drawn = Counter(peer for _ in range(2_000) for peer in store.sample(KEY, 100, 1.0, dice.sample))
    # 200 are expected of each; the standard deviation is 13.
    assert len(drawn) == 1_000
    assert min(drawn.values()) > 140
    assert max(drawn.values()) < 260


def test_sample_shows_an_honest_peer_of_the_flooding_host(dice: random.Random) -> None:
    store = MemoryPeers(240)
    store.announce(KEY, ("127.0.0.1", 1_337), 0.0, ("127.0.0.1", 20_001))
    flood(store, [("127.0.0.1", 666)])
    # Only an announce of that very port by the intruder could touch it.
    assert all(("127.0.0.1", 1_337) in store.sample(KEY, 100, 1.0, dice.sample) for _ in range(20))


def test_full_key_evicts_from_its_largest_announcer() -> None:
    store = MemoryPeers(240, max_peers_per_key=10, max_peers_per_announcer=100)
    flood(store, [INTRUDER], 9)
    for n in range(1, 6):
        store.announce(KEY, ("10.0.0.1", n), 2.0, (f"10.0.0.{n}", 1))
    peers = store.peers(KEY, 2.0)
    assert len(peers) == 10
    assert [peer for peer in peers if peer[0] == "10.0.0.1"] == [("10.0.0.1", n) for n in range(1, 6)]
    assert [peer for peer in peers if peer[0] == "10.6.6.6"] == [("10.6.6.6", n) for n in range(5, 10)]


def test_keys_are_bounded_by_their_bytes() -> None:
    store = MemoryPeers(240, max_bytes=1_000_000)
    for n in range(1_000):
        store.announce(b"%d" % n + b"x" * 8_000, HONEST, 0.0)
    assert 90 < len(store) < 125
    assert store.counters.evicted_keys == 1_000 - len(store)
    store.expire(1_000)
    store.announce(KEY, HONEST, 1_000)
    assert len(store) == 1


def test_announce_with_an_age_expires_that_much_earlier() -> None:
    store = MemoryPeers(240)
    store.announce(KEY, HONEST, 100.0)
    store.announce(KEY, ("10.0.0.2", 1), 100.0, age=200.0)
    store.announce(KEY, HONEST, 100.0, age=50.0)
    store.announce(KEY, ("10.0.0.3", 1), 100.0, age=300.0)
    assert store.peers(KEY, 139.9) == [("10.0.0.2", 1), HONEST]
    assert store.peers(KEY, 140.0) == [HONEST]
    assert store.peers(KEY, 339.9) == [HONEST]
    assert store.peers(KEY, 340.0) == []


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=100), st.integers(1, 6))
def test_full_store_evicts_a_key_of_a_largest_host_under_any_announces(
    events: list[tuple[int, int]], max_keys: int
) -> None:
    store = MemoryPeers(240, max_keys=max_keys)
    # For each key the host that was the first to announce it, the key announced longest ago first.
    model: dict[bytes, str] = {}
    for number, last in events:
        key, host = b"%d" % number, f"10.0.0.{last}"
        store.announce(key, (host, 1), 0.0)
        model[key] = model.pop(key, host)
        evicted = model.keys() - set(store)
        assert len(evicted) == (len(model) > max_keys)
        for gone in evicted:
            keys_of = Counter(model.values())
            assert keys_of[model[gone]] == max(keys_of.values())
            assert gone == next(key for key, host in model.items() if host == model[gone])
            del model[gone]


def test_full_store_keeps_an_honest_key_under_ten_thousand_names_from_one_host(dice: random.Random) -> None:
    store = MemoryPeers(240, max_keys=1_000)
    store.announce(KEY, HONEST, 0.0, HONEST)
    for n in range(10_000):
        store.announce(b"made up %d" % n, INTRUDER, 1.0, INTRUDER)
    assert len(store) == 1_000
    assert store.sample(KEY, 100, 1.0, dice.sample) == [HONEST]
    assert store.counters.evicted_keys == 9_001
    store.expire(1_000)
    assert len(store) == 0


def test_sample_gives_a_host_of_many_announcers_one_turn(dice: random.Random) -> None:
    store = MemoryPeers(240, max_peers_per_key=500)
    store.announce(KEY, HONEST, 0.0, HONEST)
    for port in range(1, 2_001):
        store.announce(KEY, (INTRUDER[0], port), 1.0, (INTRUDER[0], port))
    assert len(store.peers(KEY, 1.0)) == 500
    assert all(HONEST in store.sample(KEY, 100, 1.0, dice.sample) for _ in range(20))
