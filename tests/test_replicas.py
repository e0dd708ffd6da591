"""Own announces follow the nodes closest to their name; stale holders of an item are given the newer one."""

from __future__ import annotations

from grape.testing import MemoryNetwork, make_grape, make_grapes
from tests.simulation import Key

MAX_AGE = 240.0


def test_a_node_that_comes_closer_is_given_the_announce_with_its_age() -> None:
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


def test_an_announce_that_is_too_old_is_not_made_again() -> None:
    network = MemoryNetwork(seed=2)
    grapes = make_grapes(network, 3)
    network.result(grapes[1].announce("a", 1))
    network.clock.advance(MAX_AGE + 1)
    newcomer = make_grape(network, 4)
    network.clock.advance(10)
    assert newcomer.stats().services == 0


def test_a_get_brings_stale_holders_up_to_date() -> None:
    network = MemoryNetwork(seed=3)
    grapes = make_grapes(network, 4)
    key = Key(1)
    network.result(key.put(grapes[0], "one", 1))
    # Host 4 misses the second put.
    network.partition(["10.0.0.4"])
    hash = network.result(key.put(grapes[0], "two", 2))
    network.heal()
    network.clock.advance(60)
    got = network.result(grapes[0].get(hash))
    assert got is not None
    assert got.item.seq == 2
    network.clock.advance(1)
    again = network.result(grapes[3].get(hash, cache=True))
    assert again is not None
    assert again.item.seq == 2
