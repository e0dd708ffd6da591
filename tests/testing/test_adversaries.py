"""The faults of the simulated network, and nodes that do not play by the rules."""

from __future__ import annotations

import random

from grape.dht.nodeid import distance
from grape.testing import MemoryNetwork, host_name, make_grape, make_grapes
from grape.testing.adversaries import Liar, Mirror, close_id
from grape.testing.scenarios import SCENARIOS, churn, main, partition


def test_a_mirror_is_never_listed_and_stops_nobody() -> None:
    network = MemoryNetwork(seed=1)
    grapes = make_grapes(network, 3)
    network.reactor("10.0.0.66").listenUDP(20_001, Mirror())
    for grape in grapes:
        grape.node._socket().ping(("10.0.0.66", 20_001)).addErrback(lambda _: None)
    network.clock.advance(10)
    assert [grape.stats().contacts for grape in grapes] == [2, 2, 2]
    assert network.result(grapes[0].announce("a", 1)) == 2


def test_liars_next_to_a_key_do_not_hide_it() -> None:
    network = MemoryNetwork(seed=2)
    grapes = make_grapes(network, 10)
    for index in range(20, 25):
        reactor = network.reactor(host_name(index))
        reactor.listenUDP(20_001, Liar(reactor, random.Random(index), ("10.0.0.1", 20_001), near=b"service"))
    network.clock.advance(130)
    assert network.result(grapes[3].announce("service", 1337)) > 0
    for grape in grapes:
        assert "10.0.0.4:1337" in network.result(grape.lookup("service"))


def test_a_node_behind_nat_asks_but_is_not_asked() -> None:
    network = MemoryNetwork(seed=3)
    network.put_behind_nat("10.0.0.3")
    grapes = make_grapes(network, 3)
    network.clock.advance(10)
    assert network.result(grapes[2].announce("a", 1)) == 2
    assert network.result(grapes[1].lookup("a")) == ["10.0.0.3:1"]


def test_a_one_way_link_is_a_dead_one_until_it_heals() -> None:
    network = MemoryNetwork(seed=4)
    first = make_grape(network, 1)
    network.block("10.0.0.1", "10.0.0.2")
    second = make_grape(network, 2)
    network.clock.advance(5)
    assert second.stats().contacts == 0
    network.heal()
    network.clock.advance(10)
    assert (first.stats().contacts, second.stats().contacts) == (1, 1)


def test_a_killed_host_comes_back_under_a_new_id() -> None:
    network = MemoryNetwork(seed=5)
    grapes = make_grapes(network, 3)
    old = grapes[2].stats().node_id
    network.kill("10.0.0.3")
    network.clock.advance(1)
    again = make_grape(network, 3)
    network.clock.advance(5)
    assert again.stats().node_id != old
    assert network.result(grapes[1].announce("a", 1)) == 2


def test_duplicated_and_reordered_datagrams_change_nothing() -> None:
    network = MemoryNetwork(seed=6, duplication=0.5, reordering=0.5)
    grapes = make_grapes(network, 8)
    network.clock.advance(10)
    assert network.result(grapes[0].announce("a", 1)) == 7
    assert network.result(grapes[5].lookup("a")) == ["10.0.0.1:1"]
    assert all(grape.stats().counters["faults"] == 0 for grape in grapes)


def test_close_ids_are_close() -> None:
    dice = random.Random(7)
    assert all(distance(close_id(b"service", dice, 24), b"service") < 1 << 136 for _ in range(50))


def test_the_command_prints_a_row_for_each_scenario(capsys: object) -> None:
    main(["calm", "rough", "--seeds", "1"])
    out = capsys.readouterr().out.splitlines()  # type: ignore[attr-defined]
    assert out[0].split()[:3] == ["scenario", "nodes", "loss"]
    assert [line.split()[0] for line in out[1:]] == ["calm", "rough"]
    assert "100.00%" in out[1]
    assert {"loss", "harsh", "churn", "partition", "liars", "sybils"} <= set(SCENARIOS)


def test_in_constant_churn_services_are_found_and_the_outcome_tells_how_much_of_it_there_was() -> None:
    outcome = churn("churn", half_life=60, nodes=20, seconds=120)(1)
    assert outcome.lookups == 60
    assert outcome.found >= 57
    assert 0.2 < outcome.churn < 0.8


def test_what_each_side_of_a_partition_was_told_is_found_by_both_once_it_heals() -> None:
    outcome = partition("partition", nodes=20)(1)
    assert outcome.found == outcome.lookups == 300
