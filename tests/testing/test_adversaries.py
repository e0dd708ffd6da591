"""Tests grape.testing.adversaries: hostile nodes among grapes."""

from __future__ import annotations

import random

from grape.dht.nodeid import distance
from grape.testing import MemoryNetwork, host_name, make_grapes
from grape.testing.adversaries import Liar, Mirror, close_id


def test_mirror_is_never_listed_and_stops_nobody(network: MemoryNetwork) -> None:
    mirror = f"{host_name(66)}:20001"
    network.reactor(host_name(66)).listenUDP(20_001, Mirror())
    grapes = make_grapes(network, 3, dht_bootstrap=[f"{host_name(1)}:20001", mirror])
    network.clock.advance(10)
    assert [grape.stats().contacts for grape in grapes] == [2, 2, 2]
    assert network.result(grapes[0].announce("a", 1)) == 2


def test_liars_close_to_a_key_do_not_hide_it(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 10)
    for index in range(20, 25):
        reactor = network.reactor(host_name(index))
        reactor.listenUDP(20_001, Liar(reactor, random.Random(index), ("10.0.0.1", 20_001), near=b"service"))
    network.clock.advance(130)
    assert network.result(grapes[3].announce("service", 1337)) > 0
    for grape in grapes:
        assert "10.0.0.4:1337" in network.result(grape.lookup("service"))


def test_close_id_shares_the_bits_it_is_asked_for() -> None:
    dice = random.Random(7)
    assert all(distance(close_id(b"service", dice, 24), b"service") < 1 << 136 for _ in range(50))
