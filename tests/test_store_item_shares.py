"""grape.store: MemoryItems shares its items fairly among hosts, and keeps this grape's own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from grape.dht.items import Item, immutable
from grape.dht.messages import Response
from grape.metrics import Counters
from grape.store import ITEM_OVERHEAD_BYTES, OWN, MemoryItems
from grape.testing import MemoryNetwork
from tests.simulation import Remote, lone_grape

HONEST = "10.0.0.1"
INTRUDER = "10.6.6.6"


def item(n: int) -> Item:
    return immutable(n)


def put(store: MemoryItems, numbers: range, host: str = OWN) -> None:
    for n in numbers:
        store.put(item(n), host)


def kept(store: MemoryItems, numbers: range) -> list[int]:
    """Returns the numbers of those items that are stored."""
    targets = set(store)
    return [n for n in numbers if item(n).target in targets]


def test_flood_from_one_host_evicts_its_own_items() -> None:
    store = MemoryItems(100)
    put(store, range(10), HONEST)
    put(store, range(10, 15), "10.0.0.2")
    put(store, range(1_000, 2_000), INTRUDER)
    assert kept(store, range(15)) == list(range(15))
    assert kept(store, range(1_000, 2_000)) == list(range(1_915, 2_000))
    assert store.counters == Counters(evicted_items=915)


def test_equal_hosts_give_the_least_recently_used_item() -> None:
    store = MemoryItems(3)
    for n in range(3):
        store.put(item(n), f"10.0.0.{n}")
    store.get(item(0).target)
    store.put(item(3), "10.0.0.3")
    assert kept(store, range(4)) == [0, 2, 3]


def test_own_items_stay_while_they_are_at_most_half_of_all_items() -> None:
    store = MemoryItems(100)
    put(store, range(50))
    put(store, range(1_000, 2_000), INTRUDER)
    assert kept(store, range(50)) == list(range(50))
    # Own items above half are evicted when others put: else a busy client would keep this grape from serving them.
    put(store, range(50, 200))
    assert kept(store, range(200)) == list(range(150, 200))
    assert kept(store, range(1_000, 2_000)) == list(range(1_950, 2_000))


def test_own_items_alone_fill_the_store() -> None:
    store = MemoryItems(100)
    put(store, range(150))
    assert kept(store, range(150)) == list(range(50, 150))
    store.put(item(1_000), HONEST)
    assert kept(store, range(1_001)) == [*range(51, 150), 1_000]


def test_item_put_again_by_another_host_counts_for_the_first() -> None:
    store = MemoryItems(10)
    put(store, range(5), HONEST)
    put(store, range(5), INTRUDER)
    put(store, range(100, 200), INTRUDER)
    assert kept(store, range(200)) == [*range(5), *range(195, 200)]


def test_item_put_by_this_grape_becomes_its_own() -> None:
    store = MemoryItems(10)
    put(store, range(1), INTRUDER)
    put(store, range(2))
    put(store, range(2), INTRUDER)
    put(store, range(100, 200), INTRUDER)
    assert kept(store, range(2)) == [0, 1]


def test_items_are_bounded_by_their_bytes() -> None:
    store = MemoryItems(max_bytes=100_000)
    for n in range(1_000):
        store.put(immutable([n, b"x" * 900]), INTRUDER)
    size = len(immutable([999, b"x" * 900]).raw) + ITEM_OVERHEAD_BYTES
    assert len(store) == 100_000 // size
    # An item that replaces another one counts once.
    for n in range(1_000):
        store.put(Item(b"i%de" % n, b"k" * 32, b"s" * 64, n), HONEST)
    assert len(store) >= 100_000 // size - 1


HOSTS = st.sampled_from([OWN, HONEST, INTRUDER, "10.0.0.2"])


@given(st.lists(st.tuples(st.booleans(), HOSTS, st.integers(0, 30)), max_size=120), st.integers(1, 12))
def test_items_keep_their_limits_and_own_ones_go_last_under_any_puts(
    events: list[tuple[bool, str, int]], max_items: int
) -> None:
    limit = min(max_items, 10)
    store = MemoryItems(max_items, max_bytes=10 * (ITEM_OVERHEAD_BYTES + 4))
    own: set[int] = set()
    there: set[int] = set()
    for asks, host, n in events:
        if asks:
            assert store.get(item(n).target) == (item(n) if n in there else None)
            continue
        store.put(item(n), host)
        before, there = there | {n}, set(kept(store, range(31)))
        own |= {n} if host == OWN else set()
        gone = before - there
        assert there <= before
        assert len(there) == len(store) == min(len(before), limit)
        # Of a full store one is evicted; an own one only if those are more than half.
        assert not gone & own or 2 * len(own) > len(before)
        assert n in there or host != OWN
        own &= there


def test_flood_of_puts_over_the_network_leaves_the_items_of_others() -> None:
    network = MemoryNetwork(seed=1)
    grape = lone_grape(network, HONEST, dht_maxValues=10)
    own = network.result(grape.put("own"))
    other, intruder = Remote(network, "10.0.0.2"), Remote(network, INTRUDER)
    for remote, count in ((other, 3), (intruder, 100)):
        remote.ask((HONEST, 20_001), b"get", target=bytes(20))
        network.clock.advance(1)
        (token,) = [message.values[b"token"] for message in remote.heard if isinstance(message, Response)]
        for n in range(count):
            remote.ask((HONEST, 20_001), b"put", token=token, v=b"%s %d" % (remote.id, n))
        network.clock.advance(1)
    values = [b"%s %d" % (other.id, n) for n in range(3)]
    other.heard.clear()
    for target in [immutable(value).target for value in values] + [bytes.fromhex(own)]:
        other.ask((HONEST, 20_001), b"get", target=target)
    network.clock.advance(1)
    assert [message.values[b"v"] for message in other.heard if isinstance(message, Response)] == [*values, b"own"]
    assert grape.stats().items == 10
    assert grape.stats().counters["evicted_items"] == 94
