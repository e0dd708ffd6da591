"""grape.node.services: loopback peers stay on their host; the own address and the advertised one, over a network."""

from __future__ import annotations

from typing import Any

from grape.dht.compact import encode_nodes, encode_peer
from grape.dht.messages import Query
from grape.testing import MemoryNetwork
from tests.simulation import Remote, Traffic, friendly, lone_grape

FIRST = "10.0.0.1:20001"


def test_lookup_lists_no_loopback_peer_that_another_host_told(network: MemoryNetwork) -> None:
    def reply(query: Query) -> Any:
        peers = ("127.0.0.1", 80), ("10.0.0.7", 80)
        return {**friendly(query), b"values": [encode_peer(peer) for peer in peers]}

    Remote(network, "10.0.0.1", reply)
    grape = lone_grape(network, "10.0.0.2", dht_bootstrap=[FIRST])
    network.result(grape.when_ready())
    assert network.result(grape.lookup("a")) == ["10.0.0.7:80"]


def test_lookup_lists_loopback_peers_that_a_loopback_node_told(network: MemoryNetwork) -> None:
    Remote(network, "127.0.0.1", lambda query: {**friendly(query), b"values": [encode_peer(("127.0.0.1", 80))]})
    grape = lone_grape(network, "127.0.0.2", dht_bootstrap=["127.0.0.1:20001"])
    network.result(grape.when_ready())
    assert network.result(grape.lookup("a")) == ["127.0.0.1:80"]


def test_lookup_asks_no_loopback_node_that_another_host_named(network: MemoryNetwork) -> None:
    nodes = encode_nodes([(b"n" * 20, ("127.0.0.1", 5)), (b"m" * 20, ("10.0.0.9", 5))])
    Remote(network, "10.0.0.1", lambda query: {**friendly(query), b"nodes": nodes})
    grape = lone_grape(network, "10.0.0.2", dht_bootstrap=[FIRST])
    traffic = Traffic(network)
    network.result(grape.lookup("a"))
    assert traffic.queries(to=("10.0.0.9", 5))
    assert not traffic.queries(to=("127.0.0.1", 5))


def test_node_behind_a_loopback_contact_finds_a_newcomer_within_seconds(network: MemoryNetwork) -> None:
    # The first contact of the second grape is at a loopback address: no newcomer is told of the second one.
    newcomer = Remote(network, "10.0.0.9")
    known: list[tuple[bytes, tuple[str, int]]] = []
    Remote(network, "127.0.0.1", lambda query: {**friendly(query), b"nodes": encode_nodes(known)})
    second = lone_grape(network, "10.0.0.2", dht_bootstrap=["127.0.0.1:20001"])
    network.clock.advance(300)
    assert second.stats().contacts == 1
    known.append((newcomer.id, newcomer.address))
    network.clock.advance(10)
    # A node at a loopback address may name any address.
    assert second.stats().contacts == 2
    assert newcomer.methods()
