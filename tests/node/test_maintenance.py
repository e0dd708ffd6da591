"""grape.node.maintenance: joining a network and staying in it, in virtual time."""

from __future__ import annotations

from grape import Grape
from grape.testing import MemoryNetwork, make_grapes
from tests.simulation import Remote, friendly, lone_grape, silent

FIRST = "10.0.0.1:20001"


def test_joining_finds_the_nodes_behind_the_bootstrap_node(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 10)
    newest = lone_grape(network, "10.0.0.99", dht_bootstrap=[FIRST])
    network.result(newest.when_ready())
    assert newest.stats().contacts == 10
    network.clock.advance(1)
    assert {grape.stats().contacts for grape in grapes} == {10}


def test_network_that_was_lost_is_joined_again(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 5)
    network.loss = 1.0
    network.clock.advance(700)
    assert [grape.stats().contacts for grape in grapes] == [0] * 5
    network.loss = 0.0
    network.clock.advance(30)
    assert [grape.stats().contacts for grape in grapes] == [4] * 5
    assert network.result(grapes[3].announce("a", 1)) == 4


def test_node_back_after_it_was_dropped_is_listed_within_ten_seconds_though_it_says_nothing(
    network: MemoryNetwork,
) -> None:
    node = Remote(network, "10.0.0.9")
    grape = lone_grape(network)
    node.ask(("10.0.0.1", 20_001), b"ping")
    network.clock.advance(1)
    assert grape.stats().contacts == 1
    node.reply = silent
    while grape.stats().contacts:
        network.result(grape.lookup("a"))
        network.clock.advance(1)
    network.clock.advance(1)
    node.reply = friendly
    network.clock.advance(10)
    assert grape.stats().contacts == 1


def test_silent_contacts_are_pinged(network: MemoryNetwork) -> None:
    node = Remote(network, "10.0.0.9")
    # One that was given no nodes to join does not watch whether it is alone, which takes pings, too.
    grape = lone_grape(network, dht_nodeLiveness=20_000)
    node.ask(("10.0.0.1", 20_001), b"ping")
    network.clock.advance(15)
    assert node.methods().count(b"ping") == 1
    network.clock.advance(600)
    # In between the grape looks for more contacts, once a minute in the end; answers to that are signs of life, too.
    assert 15 <= node.methods().count(b"ping") <= 32
    assert grape.stats().contacts == 1


def test_liveness_pings_drop_a_contact_that_is_gone(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 5, dht_nodeLiveness=30_000)
    network.result(grapes[4].stopService())
    network.clock.advance(50)
    assert [grape.stats().contacts for grape in grapes[:4]] == [3] * 4


def test_contact_that_failed_once_is_pinged_at_the_next_check(network: MemoryNetwork) -> None:
    node = Remote(network, "10.0.0.9")
    grape = lone_grape(network, dht_bootstrap="10.0.0.9:20001")
    network.clock.advance(1)
    node.reply = silent
    network.result(grape.lookup("a"))
    node.reply = friendly
    network.clock.advance(5.1)
    assert b"ping" in node.methods()
    assert network.result(grape.announce("a", 1)) == 1


def test_restarted_node_replaces_its_old_contact_at_once(network: MemoryNetwork) -> None:
    first, second = make_grapes(network, 2)
    network.result(second.stopService())
    again = Grape(dht_bootstrap=[FIRST], reactor=network.reactor("10.0.0.2"))
    again.startService()
    network.clock.advance(0.02)
    assert again.node.node_id != second.node.node_id
    assert first.stats().contacts == 1
    for name in (f"r{n}" for n in range(40)):
        assert network.result(first.announce(name, 1)) == 1


def test_announces_are_accepted_after_all_of_a_ring_restarted_one_by_one(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 3)
    entries = [f"10.0.0.{n}:20001" for n in (1, 2, 3)]
    for turn in range(6):
        index = turn % 3
        network.result(grapes[index].stopService())
        others = [entry for entry in entries if entry != entries[index]]
        grapes[index] = Grape(dht_bootstrap=others, reactor=network.reactor(f"10.0.0.{index + 1}"))
        grapes[index].startService()
        network.result(grapes[index].when_ready())
        network.clock.advance(0.1)
        for grape in grapes:
            assert network.result(grape.announce(f"turn {turn}", 1)) == 2


def test_own_id_is_looked_up_every_quarter_of_an_hour(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 30)
    network.clock.advance(60)
    before = grapes[7].stats().counters["lookups"]
    network.clock.advance(900)
    stats = grapes[7].stats()
    # Answers to pings came from every bucket in that time: none of them is refreshed.
    assert stats.counters["lookups"] - before == 1


def test_expired_peers_leave_the_memory(network: MemoryNetwork) -> None:
    grape = lone_grape(network, dht_peer_maxAge=10_000)
    network.result(grape.announce("a", 1))
    network.clock.advance(9)
    assert grape.stats().services == 1
    network.clock.advance(60)
    assert grape.stats().services == 0
