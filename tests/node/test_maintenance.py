"""grape.node.maintenance: joining a network and staying in it, in virtual time."""

from __future__ import annotations

import itertools
import random

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from grape import Grape
from grape.testing import MemoryNetwork, make_grapes
from tests.simulation import Remote, Traffic, friendly, lone_grape, refusing, silent

FIRST = "10.0.0.1:20001"


def test_bootstrap_nodes_are_all_queried_at_once(network: MemoryNetwork) -> None:
    hosts = [f"10.0.1.{n}" for n in range(1, 41)]
    traffic = Traffic(network)
    lone_grape(network, dht_bootstrap=[f"{host}:20001" for host in hosts])
    assert traffic.queries(b"find_node") == [0.0] * 40
    assert {destination for _, _, destination, _ in traffic.sent} == {(host, 20_001) for host in hosts}


@pytest.mark.parametrize("dead", [1, 10])
def test_one_live_bootstrap_node_is_enough(network: MemoryNetwork, dead: int) -> None:
    lone_grape(network)
    entries = [f"10.0.1.{n}:20001" for n in range(dead)]
    grape = lone_grape(network, "10.0.0.2", dht_bootstrap=[*entries, FIRST])
    network.result(grape.when_ready())
    assert network.clock.seconds() < 0.5
    assert network.result(grape.announce("a", 1)) == 1


def test_joining_finds_the_nodes_behind_the_bootstrap_node(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 10)
    newest = lone_grape(network, "10.0.0.99", dht_bootstrap=[FIRST])
    network.result(newest.when_ready())
    assert newest.stats().contacts == 10
    network.clock.advance(1)
    assert {grape.stats().contacts for grape in grapes} == {10}


def test_bootstrap_names_are_resolved(network: MemoryNetwork) -> None:
    network.names["first.example"] = "10.0.0.1"
    lone_grape(network)
    grape = lone_grape(network, "10.0.0.2", dht_bootstrap="first.example:20001")
    network.result(grape.when_ready())
    assert network.clock.seconds() < 0.1
    assert grape.stats().contacts == 1


def test_bootstrap_name_that_cannot_be_resolved_is_logged_once_and_retried(network: MemoryNetwork) -> None:
    lone_grape(network)
    with capturedLogs() as logs:
        grape = lone_grape(network, "10.0.0.2", dht_bootstrap="first.example:20001")
        network.result(grape.when_ready())
        network.clock.advance(100)
    assert [formatEvent(event) for event in logs if "cannot be resolved" in formatEvent(event)] == [
        "bootstrap node first.example cannot be resolved; retrying"
    ]
    network.names["first.example"] = "10.0.0.1"
    network.clock.advance(10)
    assert grape.stats().contacts == 1


def test_stop_does_not_wait_for_a_name_being_resolved(network: MemoryNetwork) -> None:
    reactor = network.reactor("10.0.0.1")
    asked: list[Deferred[str]] = []

    def resolve(name: str) -> Deferred[str]:
        asked.append(Deferred())
        return asked[-1]

    reactor.resolve = resolve  # type: ignore[method-assign]
    grape = Grape(dht_bootstrap="first.example:20001", reactor=reactor)
    grape.startService()
    assert len(asked) == 1
    network.result(grape.stopService(), seconds=0)
    network.clock.advance(60)
    assert len(asked) == 1
    assert not network.clock.getDelayedCalls()


@pytest.mark.parametrize("seed", range(3))
def test_dead_bootstrap_nodes_are_retried_indefinitely_with_back_off(seed: int) -> None:
    network = MemoryNetwork()
    traffic = Traffic(network)
    grape = Grape(dht_bootstrap="10.0.0.9:1", reactor=network.reactor("10.0.0.1"), dice=random.Random(seed))
    grape.startService()
    network.clock.advance(3_600)
    pauses = [later - earlier for earlier, later in itertools.pairwise(traffic.queries(b"find_node"))]
    assert 0.24 <= pauses[0] <= 0.36
    assert pauses[:4] == sorted(pauses[:4])
    assert all(4 <= pause <= 6 for pause in pauses[5:])
    assert len(pauses) > 300


def test_unresolvable_name_is_retried_after_half_a_second(network: MemoryNetwork) -> None:
    lone_grape(network)
    grape = lone_grape(network, "10.0.0.2", dht_bootstrap="first.example:20001")
    network.names["first.example"] = "10.0.0.1"
    network.clock.advance(0.7)
    assert grape.stats().contacts == 1


@pytest.mark.parametrize("down", [1, 100, 5_000])
def test_grape_joins_when_its_bootstrap_node_comes_up(network: MemoryNetwork, down: float) -> None:
    grape = lone_grape(network, "10.0.0.2", dht_bootstrap=[FIRST])
    network.clock.advance(down)
    lone_grape(network)
    network.clock.advance(12)
    assert network.result(grape.announce("a", 1)) == 1


def test_lookups_do_not_query_dead_bootstrap_nodes(network: MemoryNetwork) -> None:
    lone_grape(network)
    grape = lone_grape(network, "10.0.0.2", dht_bootstrap=[FIRST, "10.0.0.9:1"])
    network.clock.advance(60)
    traffic = Traffic(network)
    for _ in range(10):
        assert network.result(grape.lookup("a")) == []
    assert not traffic.queries(to=("10.0.0.9", 1))


def test_bootstrap_nodes_are_not_queried_once_the_table_is_large_enough(network: MemoryNetwork) -> None:
    make_grapes(network, 25)
    lone_grape(network, "10.0.0.99", dht_bootstrap=[FIRST, "10.0.0.9:1"])
    network.clock.advance(20)
    traffic = Traffic(network)
    network.clock.advance(120)
    assert not traffic.queries(to=("10.0.0.9", 1))


def test_network_that_was_lost_is_joined_again(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 5)
    network.loss = 1.0
    network.clock.advance(700)
    assert [grape.stats().contacts for grape in grapes] == [0] * 5
    network.loss = 0.0
    network.clock.advance(30)
    assert [grape.stats().contacts for grape in grapes] == [4] * 5
    assert network.result(grapes[3].announce("a", 1)) == 4


@pytest.mark.parametrize("others", [0, 1])
def test_own_address_among_the_bootstrap_nodes_does_no_harm(network: MemoryNetwork, others: int) -> None:
    if others:
        lone_grape(network, "10.0.0.2")
    traffic = Traffic(network)
    grape = lone_grape(network, dht_bootstrap=[FIRST, "10.0.0.2:20001"])
    network.result(grape.when_ready())
    network.clock.advance(600)
    # Every five seconds at most, as the address may become another node's.
    assert len(traffic.queries(to=("10.0.0.1", 20_001), source=("10.0.0.1", 20_001))) <= 121
    assert grape.stats().contacts == others


def test_bootstrap_node_that_was_a_double_is_joined_within_ten_seconds_of_its_change(network: MemoryNetwork) -> None:
    double = Remote(network, "10.0.0.9")
    other = double.id
    grape = lone_grape(network, dht_bootstrap="10.0.0.9:20001")
    double.id = bytes.fromhex(grape.stats().node_id)
    network.clock.advance(60)
    assert grape.stats().contacts == 0
    double.id = other
    network.clock.advance(11)
    assert grape.stats().contacts == 1


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


def test_bootstrap_node_that_answers_with_an_error_is_retried(network: MemoryNetwork) -> None:
    node = Remote(network, "10.0.0.9", refusing)
    grape = lone_grape(network, dht_bootstrap="10.0.0.9:20001")
    network.result(grape.when_ready())
    assert grape.stats().contacts == 0
    node.reply = friendly
    network.clock.advance(10)
    assert grape.stats().contacts == 1


def test_silent_contacts_are_pinged(network: MemoryNetwork) -> None:
    node = Remote(network, "10.0.0.9")
    grape = lone_grape(network, dht_bootstrap="10.0.0.9:20001", dht_nodeLiveness=20_000)
    network.clock.advance(15)
    assert b"ping" not in node.methods()
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


@pytest.mark.parametrize(("entry", "times"), [("10.0.0.9:20001", 1), ("127.0.0.1:20001", 0), ("127.0.0.1:20002", 1)])
def test_bootstrap_node_with_this_grapes_own_id_is_logged_once(network: MemoryNetwork, entry: str, times: int) -> None:
    host, _, port = entry.partition(":")
    double = Remote(network, host, port=int(port))
    with capturedLogs() as logs:
        grape = lone_grape(network, "10.0.0.2", dht_bootstrap=[entry])
        double.id = bytes.fromhex(grape.stats().node_id)
        network.clock.advance(300)
    # A ring's bootstrap list may name the grape itself: that is not logged.
    assert sum("own node id" in formatEvent(event) for event in logs) == times
