"""grape.store: limits that change while the stores are in use."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grape.config import Config
from grape.dht.compact import Address
from grape.dht.items import immutable
from grape.store import MemoryItems, MemoryPeers


def filled() -> MemoryPeers:
    """Returns a store with 6 keys of 12 peers each, of three announcers."""
    store = MemoryPeers(240)
    for key in range(6):
        for n in range(12):
            store.announce(b"%d" % key, ("10.0.0.1", 1 + n), float(n), (f"10.1.0.{n % 3}", 1))
    return store


def peers_of(store: MemoryPeers) -> list[int]:
    """Returns how many peers each key has."""
    return [len(store.peers(key, 20.0)) for key in store]


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        (Config(), [12] * 6),
        (Config(max_keys=2), [12] * 2),
        (Config(max_peers_per_key=5), [5] * 6),
        (Config(max_peers_per_announcer=1), [3] * 6),
        (Config(max_keys=1, max_peers_per_key=4, max_peers_per_announcer=2), [4]),
    ],
)
def test_lower_limits_evict_peers_and_keys_at_once(limits: Config, left: list[int]) -> None:
    store = filled()
    store.set_limits(limits)
    assert peers_of(store) == left
    assert store.counters.evicted_keys == 6 - len(left)


def test_lower_limit_of_memory_evicts_keys_at_once() -> None:
    store = MemoryPeers(240)
    for key in range(100):
        for port in range(20):
            store.announce(b"%d" % key, ("10.0.0.1", 1 + port), 0.0)
    store.set_limits(Config(max_store_bytes=1_000_000))
    # As many as a store has that had the limit from the start.
    fresh = MemoryPeers(240, max_bytes=1_000_000)
    for key in range(100):
        for port in range(20):
            fresh.announce(b"%d" % key, ("10.0.0.1", 1 + port), 0.0)
    assert len(store) == len(fresh) < 100


def test_lower_limits_tell_the_journal_of_each_peer_that_goes() -> None:
    gone: list[tuple[bytes, Address]] = []
    store = MemoryPeers(240, changed=lambda key, peer: gone.append((key, peer)))
    for n in range(4):
        store.announce(b"a", ("10.0.0.1", 1 + n), float(n))
    gone.clear()
    store.set_limits(Config(max_peers_per_key=3))
    assert len(gone) == 1


def test_higher_limits_are_used() -> None:
    store = MemoryPeers(240, max_keys=1)
    store.set_limits(Config(max_keys=3))
    for key in range(5):
        store.announce(b"%d" % key, ("10.0.0.1", 1), 0.0)
    assert len(store) == 3


def test_items_are_evicted_at_once() -> None:
    store = MemoryItems()
    for n in range(10):
        store.put(immutable(b"%d" % n), f"10.0.0.{n}")
    store.set_limits(Config(dht_max_values=4))
    assert (len(store), store.counters.evicted_items) == (4, 6)
    store.set_limits(attrs.evolve(Config(), dht_max_values=6))
    for n in range(20):
        store.put(immutable(b"%d" % n), "10.0.0.1")
    assert len(store) == 6


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9), st.integers(0, 3), st.integers(0, 9)), max_size=60))
def test_memory_is_counted_as_before_whatever_changes(steps: list[tuple[int, int, int, int]]) -> None:
    store = MemoryPeers(240)
    for key, port, announcer, limit in steps:
        store.announce(b"%d" % key, ("10.0.0.1", port), 0.0, (f"10.1.0.{announcer}", 1))
        if limit:
            store.set_limits(Config(max_keys=limit, max_peers_per_key=limit, max_peers_per_announcer=limit))
    assert store.used_bytes == sum(store._keys[key].bytes for key in store)
    assert store.peer_count == sum(1 for _ in store.all())


def test_renewed_peers_take_no_more_memory() -> None:
    store = MemoryPeers(240, max_bytes=40_000)
    keys = [b"%d" % n for n in range(20)]
    for now in range(100):
        for key in keys:
            store.announce(key, ("10.0.0.1", 1), float(now), age=now % 3)
    assert (list(store), store.counters.evicted_keys) == (keys, 0)
    for key in keys:
        store.remove(key, ("10.0.0.1", 1))
    for key in keys:
        store.announce(key, ("10.0.0.1", 1), 100.0)
    # As much is left for others as in a new store.
    assert (list(store), store.counters.evicted_keys) == (keys, 0)
