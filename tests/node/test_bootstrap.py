"""grape.node.bootstrap: the nodes that a grape joins through, and names that stand for several, in virtual time."""

from __future__ import annotations

import itertools
import random

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.logger import capturedLogs, formatEvent

from grape import Grape
from grape.reactor import OnlyIPv6
from grape.testing import MemoryNetwork, make_grapes
from tests.simulation import Remote, Traffic, friendly, lone_grape, refusing

FIRST = "10.0.0.1:20001"
RING = "ring.example:20001"


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
    asked: list[Deferred[list[str]]] = []

    def resolve(name: str) -> Deferred[list[str]]:
        asked.append(Deferred())
        return asked[-1]

    reactor.resolve_all = resolve  # type: ignore[method-assign]
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


def test_bootstrap_node_that_answers_with_an_error_is_retried(network: MemoryNetwork) -> None:
    node = Remote(network, "10.0.0.9", refusing)
    grape = lone_grape(network, dht_bootstrap="10.0.0.9:20001")
    network.result(grape.when_ready())
    assert grape.stats().contacts == 0
    node.reply = friendly
    network.clock.advance(10)
    assert grape.stats().contacts == 1


@pytest.mark.parametrize("entry", ["10.0.0.9:20001", "127.0.0.1:20001", "127.0.0.1:20002"])
def test_bootstrap_node_with_this_grapes_own_id_is_logged_once(network: MemoryNetwork, entry: str) -> None:
    host, _, port = entry.partition(":")
    double = Remote(network, host, port=int(port))
    with capturedLogs() as logs:
        grape = lone_grape(network, "10.0.0.2", dht_bootstrap=[entry])
        double.id = bytes.fromhex(grape.stats().node_id)
        network.clock.advance(300)
    lines = [formatEvent(event) for event in logs]
    # It is another node: it has answered queries that did not come to this one's socket.
    assert sum("own node id" in line for line in lines) == 1
    assert sum("copies of one state file" in line for line in lines) == 1


@pytest.mark.parametrize("entry", ["10.0.0.2:20001", "ring.example:20001"])
def test_bootstrap_node_that_is_this_grape_itself_is_logged_once(network: MemoryNetwork, entry: str) -> None:
    network.names["ring.example"] = "10.0.0.2"
    with capturedLogs() as logs:
        lone_grape(network, "10.0.0.2", dht_bootstrap=[entry])
        network.clock.advance(300)
    assert sum("own node id" in formatEvent(event) for event in logs) == 1


# Names that stand for several addresses


def counts(grapes: list[Grape]) -> list[int]:
    """Returns the number of contacts of each grape."""
    return [grape.stats().contacts for grape in grapes]


@pytest.mark.parametrize("alive", [0, 1, 7])
def test_all_addresses_of_a_name_are_queried_at_once(network: MemoryNetwork, alive: int) -> None:
    hosts = [f"10.0.1.{n}" for n in range(8)]
    network.names["ring.example"] = hosts
    Remote(network, hosts[alive])
    traffic = Traffic(network)
    grape = lone_grape(network, dht_bootstrap=RING)
    assert [destination[0] for _, _, destination, _ in traffic.sent] == hosts
    network.result(grape.when_ready())
    assert network.clock.seconds() < 0.1
    assert grape.stats().contacts == 1


def test_addresses_of_a_name_beyond_eight_are_queried_in_later_rounds(network: MemoryNetwork) -> None:
    network.names["ring.example"] = [f"10.0.1.{n}" for n in range(20)]
    Remote(network, "10.0.1.19")
    traffic = Traffic(network)
    grape = lone_grape(network, dht_bootstrap=RING)
    assert len(traffic.queries(b"find_node")) == 8
    network.clock.advance(0.4)
    assert len(traffic.queries(b"find_node")) == 16
    network.clock.advance(1)
    assert grape.stats().contacts == 1
    network.clock.advance(20)
    # After the last one it begins with the first again.
    assert all(len(traffic.queries(to=(f"10.0.1.{n}", 20_001))) > 1 for n in range(19))


@pytest.mark.parametrize("order", ["fixed", "rotated"])
@pytest.mark.parametrize("number", [2, 6, 12])
def test_ring_behind_one_name_knows_itself_within_ten_seconds_though_one_is_dead(
    network: MemoryNetwork, order: str, number: int
) -> None:
    hosts = [f"10.0.0.{n}" for n in range(1, number + 2)]
    network.names["ring.example"] = hosts
    grapes = []
    # The first address is nobody's.
    for host in hosts[1:]:
        grapes.append(lone_grape(network, host, dht_bootstrap=RING))
        if order == "rotated":
            hosts.append(hosts.pop(0))
            network.names["ring.example"] = list(hosts)
    network.clock.advance(10)
    assert counts(grapes) == [number - 1] * number


def test_own_address_of_a_name_is_passed_over_alone(network: MemoryNetwork) -> None:
    network.names["ring.example"] = ["10.0.0.1", "10.0.0.2"]
    grape = lone_grape(network, dht_bootstrap=RING)
    network.clock.advance(60)
    second = lone_grape(network, "10.0.0.2")
    network.clock.advance(7)
    assert counts([grape, second]) == [1, 1]


def test_name_that_stood_for_the_grape_itself_is_resolved_again(network: MemoryNetwork) -> None:
    network.names["ring.example"] = "10.0.0.1"
    grape = lone_grape(network, dht_bootstrap=RING)
    network.clock.advance(60)
    lone_grape(network, "10.0.0.2")
    network.names["ring.example"] = "10.0.0.2"
    network.clock.advance(10)
    assert counts([grape]) == [1]


def test_name_that_stands_for_a_new_address_is_followed(network: MemoryNetwork) -> None:
    network.names["ring.example"] = ["10.0.0.8", "10.0.0.9"]
    grape = lone_grape(network, dht_bootstrap=RING)
    network.clock.advance(60)
    lone_grape(network, "10.0.0.2")
    network.names["ring.example"] = ["10.0.0.2"]
    network.clock.advance(10)
    assert counts([grape]) == [1]


def test_name_whose_addresses_are_all_known_is_not_resolved_again(network: MemoryNetwork) -> None:
    network.names["ring.example"] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    for n in (2, 3):
        lone_grape(network, f"10.0.0.{n}")
    reactor = network.reactor("10.0.0.1")
    resolved: list[str] = []
    resolve_all = reactor.resolve_all

    def resolve(name: str) -> Deferred[list[str]]:
        resolved.append(name)
        return resolve_all(name)

    reactor.resolve_all = resolve  # type: ignore[method-assign]
    grape = lone_grape(network, dht_bootstrap=RING)
    network.clock.advance(300)
    assert counts([grape]) == [2]
    assert 1 <= len(resolved) <= 2


def test_name_with_two_ports_is_queried_at_both(network: MemoryNetwork) -> None:
    network.names["ring.example"] = "10.0.0.9"
    traffic = Traffic(network)
    lone_grape(network, dht_bootstrap="ring.example:1,ring.example:2")
    assert {destination for _, _, destination, _ in traffic.sent} == {("10.0.0.9", 1), ("10.0.0.9", 2)}


def test_halves_behind_one_name_become_one_ring(network: MemoryNetwork) -> None:
    hosts = [f"10.0.0.{n}" for n in range(1, 7)]
    network.names["ring.example"] = hosts[:3]
    grapes = [lone_grape(network, host, dht_bootstrap=RING) for host in hosts[:3]]
    network.names["ring.example"] = hosts[3:]
    grapes += [lone_grape(network, host, dht_bootstrap=RING) for host in hosts[3:]]
    network.clock.advance(10)
    assert counts(grapes) == [2] * 6
    network.names["ring.example"] = hosts
    newest = lone_grape(network, "10.0.0.7", dht_bootstrap=RING)
    network.clock.advance(70)
    assert counts([*grapes, newest]) == [6] * 7


def test_name_with_ipv6_addresses_alone_is_logged_as_such(network: MemoryNetwork) -> None:
    reactor = network.reactor("10.0.0.1")
    reactor.resolve_all = lambda name: fail(OnlyIPv6(name))  # type: ignore[method-assign]
    with capturedLogs() as logs:
        lone_grape(network, dht_bootstrap=RING)
        network.clock.advance(100)
    assert [formatEvent(event) for event in logs if "IPv6" in formatEvent(event)] == [
        "bootstrap node ring.example has only IPv6 addresses; the DHT speaks IPv4; retrying"
    ]


def test_addresses_of_bootstrap_nodes_are_never_marked(network: MemoryNetwork) -> None:
    network.names["ring.example"] = ["10.0.0.2", "10.0.0.3"]
    grape = lone_grape(network, dht_bootstrap=[RING, "10.0.0.9:5"])
    queries = grape.node._socket().queries
    assert queries.never_marked == {("10.0.0.2", 20_001), ("10.0.0.3", 20_001), ("10.0.0.9", 5)}
    network.names["ring.example"] = ["10.0.0.4"]
    network.clock.advance(10)
    assert queries.never_marked == {("10.0.0.4", 20_001), ("10.0.0.9", 5)}


@pytest.mark.parametrize(
    ("hosts", "line"),
    [
        (["10.0.0.1"], "all bootstrap nodes are this grape itself; waiting for others to join through it"),
        (["10.0.0.1", "10.0.0.9"], f"none of 1 bootstrap nodes answers: {RING}; trying on"),
    ],
)
def test_log_of_a_name_that_stands_for_the_grape_itself(network: MemoryNetwork, hosts: list[str], line: str) -> None:
    network.names["ring.example"] = hosts
    with capturedLogs() as logs:
        lone_grape(network, dht_bootstrap=RING)
        network.clock.advance(10)
    texts = [formatEvent(event) for event in logs]
    assert line in texts
    own = "bootstrap node ring.example (10.0.0.1):20001 answers with this grape's own node id"
    assert sum(text.startswith(own) for text in texts) == 1
