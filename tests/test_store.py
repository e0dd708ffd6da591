"""grape.store: ages, limits, samples, and what is evicted first."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grape.dht.compact import Address
from grape.dht.items import Item, immutable
from grape.metrics import Counters
from grape.store import MemoryItems, MemoryPeers

MAX_AGE = 240.0
KEY = b"rest:util:net"


def peer(n: int) -> Address:
    return (f"10.0.{n >> 8}.{n & 255}", 1_337)


@pytest.fixture
def peers() -> MemoryPeers:
    return MemoryPeers(MAX_AGE)


@pytest.fixture
def dice() -> random.Random:
    return random.Random(1)


def test_peer_lives_exactly_its_maximum_age(peers: MemoryPeers) -> None:
    peers.announce(KEY, peer(1), 10.0)
    assert peers.peers(KEY, 10.0 + MAX_AGE - 0.001) == [peer(1)]
    assert peers.peers(KEY, 10.0 + MAX_AGE) == []


def test_sample_holds_no_expired_peer(peers: MemoryPeers, dice: random.Random) -> None:
    peers.announce(KEY, peer(1), 0.0)
    peers.announce(KEY, peer(2), 1.0)
    assert peers.sample(KEY, 100, MAX_AGE, dice.sample) == [peer(2)]
    assert peers.sample(KEY, 100, MAX_AGE + 1, dice.sample) == []


def test_announce_of_a_known_peer_renews_it(peers: MemoryPeers) -> None:
    peers.announce(KEY, peer(1), 0.0)
    peers.announce(KEY, peer(2), 1.0)
    peers.announce(KEY, peer(1), 100.0)
    assert peers.peers(KEY, 100.0) == [peer(2), peer(1)]
    assert peers.peers(KEY, 1.0 + MAX_AGE) == [peer(1)]
    assert peers.peers(KEY, 100.0 + MAX_AGE) == []


def test_peer_stays_for_ever_without_a_maximum_age() -> None:
    peers = MemoryPeers(0)
    peers.announce(KEY, peer(1), 0.0)
    peers.expire(1e9)
    assert peers.peers(KEY, 1e9) == [peer(1)]


def test_expire_drops_keys_without_live_peers(peers: MemoryPeers) -> None:
    for n in range(10):
        peers.announce(b"key %d" % n, peer(n), float(n))
    peers.expire(MAX_AGE + 4)
    assert list(peers) == [b"key %d" % n for n in range(5, 10)]
    peers.expire(MAX_AGE + 9)
    assert len(peers) == 0
    assert peers.counters == Counters()


def test_unknown_key_has_no_peers(peers: MemoryPeers, dice: random.Random) -> None:
    assert peers.peers(b"nothing", 0.0) == []
    assert peers.sample(b"nothing", 100, 0.0, dice.sample) == []
    assert len(peers) == 0


def test_keys_of_any_length_are_distinct(peers: MemoryPeers) -> None:
    names = [b"a", b"a" * 19, b"a" * 20, b"a" * 21, b"a" * 8_192, b"\0", b"\xff"]
    for n, name in enumerate(names):
        peers.announce(name, peer(n), 0.0)
    assert [peers.peers(name, 0.0) for name in names] == [[peer(n)] for n in range(len(names))]


def test_peers_of_one_host_differ_by_port(peers: MemoryPeers) -> None:
    for port in (1, 2, 65_535):
        peers.announce(KEY, ("10.0.0.1", port), 0.0)
    assert peers.peers(KEY, 0.0) == [("10.0.0.1", 1), ("10.0.0.1", 2), ("10.0.0.1", 65_535)]


def test_full_store_evicts_the_key_announced_longest_ago() -> None:
    peers = MemoryPeers(MAX_AGE, max_keys=3)
    for name in (b"a", b"b", b"c", b"a", b"d"):
        peers.announce(name, peer(1), 0.0)
    assert set(peers) == {b"c", b"a", b"d"}
    assert peers.counters == Counters(evicted_keys=1)


def test_full_key_evicts_the_oldest_peer_of_its_only_announcer() -> None:
    peers = MemoryPeers(MAX_AGE, max_peers_per_key=3, max_peers_per_announcer=3)
    for n in (1, 2, 3, 1, 4):
        peers.announce(KEY, peer(n), 0.0, peer(99))
    assert peers.peers(KEY, 0.0) == [peer(3), peer(1), peer(4)]
    assert peers.counters == Counters(evicted_peers=1, evicted_peers_of_announcer=1)


def test_full_key_counts_an_eviction_apart_from_those_of_a_full_announcer() -> None:
    peers = MemoryPeers(MAX_AGE, max_peers_per_key=3, max_peers_per_announcer=4)
    for n in range(1, 5):
        peers.announce(KEY, peer(n), 0.0, peer(99))
    assert peers.counters == Counters(evicted_peers=1)


def test_sample_is_random_and_without_repetition(peers: MemoryPeers, dice: random.Random) -> None:
    for n in range(300):
        peers.announce(KEY, peer(n), 0.0)
    draws = [peers.sample(KEY, 100, 0.0, dice.sample) for _ in range(30)]
    assert all(len(set(draw)) == 100 for draw in draws)
    assert len({tuple(draw) for draw in draws}) == 30
    assert len({drawn for draw in draws for drawn in draw}) == 300


def test_sample_of_few_peers_is_shuffled(peers: MemoryPeers, dice: random.Random) -> None:
    for n in range(5):
        peers.announce(KEY, peer(n), 0.0)
    draws = [peers.sample(KEY, 100, 0.0, dice.sample) for _ in range(200)]
    assert {draw[0] for draw in draws} == {peer(n) for n in range(5)}


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 8), st.integers(0, 8), st.integers(0, 12), st.integers(0, 12)),
        max_size=80,
    )
)
def test_peers_keep_their_limits_and_ages_under_any_announces(
    events: list[tuple[int, int, int, int, int]],
) -> None:
    store = MemoryPeers(10.0, max_keys=4, max_peers_per_key=5, max_peers_per_announcer=3)
    latest: dict[tuple[bytes, Address], int] = {}
    now = 0
    for name, number, announcer, wait, age in events:
        now += wait // 4
        key = b"%d" % name
        store.announce(key, peer(number), now, peer(announcer), age)
        if age < 10:
            latest[key, peer(number)] = max(now - age, latest.get((key, peer(number)), now - age))
        assert len(store) <= 4
        for key in list(store):
            live = store.peers(key, now)
            assert len(live) == len(set(live)) <= 5
            assert all(now - latest[key, one] < 10 for one in live)
            assert set(store.sample(key, 2, now, random.Random(now).sample)) <= set(live)
    store.expire(now + 10)
    assert len(store) == 0


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3), st.integers(0, 4), st.integers(0, 14)), max_size=80))
def test_peers_are_ordered_by_their_last_announce_under_any_ages(
    events: list[tuple[int, int, int, int]],
) -> None:
    store = MemoryPeers(10.0)
    # The model: when each peer was last announced, sorted when it is read.
    heard: dict[Address, tuple[int, int]] = {}
    now = 0
    for n, (number, announcer, wait, age) in enumerate(events):
        now += wait
        heard = {one: at for one, at in heard.items() if now - at[0] < 10}
        assert store.peers(KEY, now) == sorted(heard, key=lambda one: heard[one])
        store.announce(KEY, peer(number), now, peer(announcer), age)
        known = heard.get(peer(number))
        if age < 10 and (not age or known is None or known[0] < now - age):
            heard[peer(number)] = (now - age, n)
        assert store.peers(KEY, now) == sorted(heard, key=lambda one: heard[one])


@pytest.mark.parametrize("renewed", [0, 1])
def test_full_store_evicts_from_the_one_of_equal_hosts_announced_longest_ago(renewed: int) -> None:
    peers = MemoryPeers(MAX_AGE, max_keys=2)
    for n in (0, 1, renewed, 2):
        peers.announce(b"%d" % n, peer(n), 0.0)
    assert set(peers) == {b"%d" % renewed, b"2"}


def test_full_key_evicts_the_newcomer_among_equal_hosts() -> None:
    peers = MemoryPeers(MAX_AGE, max_peers_per_key=3)
    for n in range(5):
        peers.announce(KEY, peer(n), 0.0)
    assert peers.peers(KEY, 0.0) == [peer(0), peer(1), peer(2)]


def item(n: int) -> Item:
    return immutable(n)


def test_item_is_found_under_its_target_alone() -> None:
    items = MemoryItems()
    items.put(item(1))
    assert items.get(item(1).target) == item(1)
    assert items.get(bytes(20)) is None
    assert len(items) == 1


def test_full_store_evicts_the_least_recently_used_item() -> None:
    items = MemoryItems(3)
    for n in (1, 2, 3):
        items.put(item(n))
    items.get(item(1).target)
    items.put(item(2))
    items.put(item(4))
    assert [n for n in (1, 2, 3, 4) if items.get(item(n).target) is not None] == [1, 2, 4]
    assert items.counters == Counters(evicted_items=1)


def test_item_replaces_what_its_target_held() -> None:
    items = MemoryItems(1)
    old = Item(b"3:old", b"k" * 32, b"s" * 64, 1)
    new = Item(b"3:new", b"k" * 32, b"s" * 64, 2)
    items.put(old)
    items.put(new)
    assert items.get(old.target) == new
    assert items.counters.evicted_items == 0


def test_removed_peer_leaves_the_others_and_a_key_without_peers_goes() -> None:
    changed: list[tuple[bytes, Address]] = []
    store = MemoryPeers(60, changed=lambda key, peer: changed.append((key, peer)))
    for port in (1, 2):
        store.announce(b"a", ("10.0.0.1", port), 0.0)
    changed.clear()
    for port in (1, 7):
        store.remove(b"a", ("10.0.0.1", port))
    store.remove(b"b", ("10.0.0.1", 1))
    assert store.peers(b"a", 1.0) == [("10.0.0.1", 2)]
    store.remove(b"a", ("10.0.0.1", 2))
    assert len(store) == 0
    assert store.used_bytes == store.peer_count == 0
    assert changed == [(b"a", ("10.0.0.1", 1)), (b"a", ("10.0.0.1", 2))]
