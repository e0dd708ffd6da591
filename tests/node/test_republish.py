"""grape.node.republish: own items are put again about every hour, each at its own time and few at once."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from typing import Any

import attrs
import pytest

from grape.dht.items import Item, immutable
from grape.dht.messages import Error, Query
from grape.node.republish import AGAIN_PER_SECOND, JITTER, MAX_OWN_ITEMS, REPUBLISH_SECONDS, OwnItems
from grape.testing import MemoryNetwork, make_grape, make_grapes
from tests.simulation import Bare, Key, Remote, Traffic, friendly

HOUR = 3_600.0
FIRST = "10.0.0.1"
SECOND = "10.0.0.2"


class Putter:
    """Own items over a bare protocol. ``changed`` records the targets that were reported as changed."""

    def __init__(self, network: MemoryNetwork, *contacts: Remote, max_items: int = MAX_OWN_ITEMS) -> None:
        self.bare = Bare(network, FIRST)
        self.bare.knows(*contacts)
        self.changed: list[bytes] = []
        reactor, jitter = network.reactor(FIRST), random.Random(1).random
        self.own = OwnItems(reactor, lambda: self.bare.protocol, jitter, self.changed.append, max_items=max_items)
        self.own.start()


def put_times(traffic: Traffic, host: str = FIRST) -> list[float]:
    """When each item was put by a host, by the first of its writes."""
    first: dict[bytes, float] = {}
    for at, source, _, message in traffic.sent:
        if source[0] == host and isinstance(message, Query) and message.method == b"put":
            value = message.arguments[b"v"]
            assert isinstance(value, bytes)
            first.setdefault(value, at)
    return list(first.values())


def test_own_item_is_put_again_about_every_hour(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 3)
    network.result(grapes[0].put("mine"))
    times = [network.clock.seconds()]
    for _ in range(4):
        traffic = Traffic(network)
        while not put_times(traffic):
            network.clock.advance(10)
        times += put_times(traffic)
    pauses = [later - sooner for sooner, later in pairwise(times)]
    assert all(HOUR * (1 - JITTER / 2) - 1 < pause < HOUR * (1 + JITTER / 2) + 1 for pause in pauses)
    assert len({round(pause) for pause in pauses}) == 4
    assert grapes[0].stats().counters["republished"] == 4


def test_new_node_has_the_item_within_the_hour(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2)
    hash = network.result(grapes[0].put("mine"))
    newcomer = make_grape(network, 3)
    network.clock.advance(HOUR * (1 + JITTER))
    got = network.result(newcomer.get(hash, cache=True))
    assert got is not None
    assert got.value == b"mine"


def test_item_that_is_put_again_by_its_owner_starts_a_new_hour(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2)
    network.result(grapes[0].put("mine"))
    network.clock.advance(HOUR / 2)
    network.result(grapes[0].put("mine"))
    traffic = Traffic(network)
    network.clock.advance(HOUR / 2 + HOUR * JITTER / 2 + 5)
    assert put_times(traffic) == []
    network.clock.advance(HOUR / 2)
    assert len(put_times(traffic)) == 1


def test_item_with_a_newer_version_is_put_no_more(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 3)
    key = Key()
    network.result(key.put(grapes[0], "old", 1))
    network.result(key.put(grapes[1], "new", 2))
    network.clock.advance(HOUR * (1 + JITTER))
    traffic = Traffic(network)
    network.clock.advance(HOUR * (1 + JITTER))
    assert put_times(traffic) == []
    assert len(put_times(traffic, SECOND)) == 1


def test_put_that_fails_does_not_end_the_republishing_of_the_item_before(network: MemoryNetwork) -> None:
    putter = Putter(network, Remote(network, SECOND))
    old, newer = immutable(b"mine"), attrs.evolve(immutable(b"mine"))
    putter.own.add(old)
    putter.own.taken(old)
    before = putter.own.add(newer)
    putter.own.stop()
    network.clock.advance(2 * HOUR)
    putter.own.take_back(newer, before)
    putter.own.start()
    traffic = Traffic(network)
    network.clock.advance(5)
    assert len(put_times(traffic)) == 1


def test_ten_thousand_own_items_are_spread_after_a_restart(network: MemoryNetwork) -> None:
    putter = Putter(network, Remote(network, SECOND))
    putter.own.stop()
    now = network.clock.seconds()
    for n in range(MAX_OWN_ITEMS):
        # Put evenly over the hour before, and then the grape was down for another: all are due.
        at = now - HOUR - n * HOUR / MAX_OWN_ITEMS
        putter.own.restore(immutable(b"%d" % n), at, at)
    putter.own.start()
    traffic = Traffic(network)
    network.clock.advance(120)
    seconds = Counter(int(at) for at in put_times(traffic))
    assert max(seconds.values()) <= 2 * AGAIN_PER_SECOND
    assert sum(seconds.values()) >= 100 * AGAIN_PER_SECOND


def test_item_that_no_node_takes_is_retried(network: MemoryNetwork) -> None:
    takes = [False]

    def reply(query: Any) -> Any:
        return friendly(query) if query.method != b"put" or takes[0] else None

    item = immutable(b"mine")
    putter = Putter(network, Remote(network, SECOND, reply))
    putter.own.restore(item, 0.0, None)
    putter.own.contact_listed()
    network.clock.advance(30)
    own = putter.own.get(item.target)
    assert own is not None
    assert own.published is None
    takes[0] = True
    network.clock.advance(120)
    assert own.published is not None


def test_own_items_are_bounded_by_max_items(network: MemoryNetwork) -> None:
    putter = Putter(network, max_items=100)
    items = [Item(b"2:%02d" % (n % 100), b"%032d" % n, b"s" * 64, n) for n in range(101)]
    for item in items:
        putter.own.add(item)
    assert len(putter.own) == 100
    assert putter.own.get(items[0].target) is None
    assert putter.changed[-1] == items[0].target


def test_as_many_items_as_are_kept_can_be_put_in_an_hour() -> None:
    assert REPUBLISH_SECONDS / MAX_OWN_ITEMS * AGAIN_PER_SECOND > 1


def test_stopped_grape_puts_nothing(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2)
    network.result(grapes[0].put("mine"))
    network.result(grapes[0].stopService())
    traffic = Traffic(network)
    network.clock.advance(2 * HOUR)
    assert put_times(traffic) == []


@pytest.mark.parametrize("is_mutable", [False, True])
def test_node_that_only_claims_a_newer_version_is_not_believed(network: MemoryNetwork, is_mutable: bool) -> None:
    def reply(query: Any) -> Any:
        if query.method == b"put":
            return Error(302, "sequence number less than current", query.transaction_id)
        return friendly(query)

    alone = make_grape(network, 1)
    network.result(Key().put(alone, "mine", 1) if is_mutable else alone.put("mine"))
    liar = Remote(network, "10.0.0.9", reply)
    liar.ask((FIRST, 20_001), b"ping")
    network.clock.advance(10)
    before = liar.methods().count(b"put")
    assert before > 0
    network.clock.advance(200)
    assert liar.methods().count(b"put") > before


def test_item_that_is_put_very_often_takes_no_more_memory(network: MemoryNetwork) -> None:
    putter = Putter(network, Remote(network, SECOND), max_items=10)
    item = immutable(b"mine")
    for _ in range(100):
        putter.own.add(item)
        putter.own.taken(item)
        # How long the queue is shows nowhere else.
        assert len(putter.own._later) <= 20
    traffic = Traffic(network)
    network.clock.advance(HOUR * (1 + JITTER))
    assert len(put_times(traffic)) == 1
