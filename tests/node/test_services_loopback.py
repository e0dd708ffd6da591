"""grape.node.services: loopback peers stay on their host; the own address and the advertised one, over a network."""

from __future__ import annotations

from typing import Any

import pytest

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


def test_own_copy_follows_the_own_address_once_another_host_is_met(network: MemoryNetwork) -> None:
    alone = lone_grape(network)
    network.result(alone.announce("a", 1337))
    alone.node._services.listing.own_host_changed("10.0.0.1")
    assert network.result(alone.lookup("a")) == ["127.0.0.1:1337"]
    second = lone_grape(network, "10.0.0.2", dht_bootstrap=[FIRST])
    network.clock.advance(1)
    for grape in (alone, second):
        assert network.result(grape.lookup("a")) == ["10.0.0.1:1337"]


def test_lone_grape_tells_its_own_address_to_a_read_only_member(network: MemoryNetwork) -> None:
    alone = lone_grape(network)
    network.result(alone.announce("a", 1337))
    reader = lone_grape(network, "10.0.0.2", dht_bootstrap=[FIRST], read_only=True)
    network.clock.advance(1)
    # It is never listed as a contact.
    assert alone.stats().contacts == 0
    assert network.result(reader.lookup("a")) == ["10.0.0.1:1337"]
    assert network.result(alone.lookup("a")) == ["127.0.0.1:1337"]


def test_advertised_address_is_the_only_one_listed(network: MemoryNetwork) -> None:
    # Other nodes see a container at its host's address.
    grape = lone_grape(network, "10.13.0.50", host="172.18.0.2", advertise="10.13.0.50", dht_bootstrap=[FIRST])
    first = lone_grape(network)
    network.clock.advance(10)
    assert network.result(grape.announce("a", 8081)) == 1
    for asked in (grape, first):
        assert network.result(asked.lookup("a")) == ["10.13.0.50:8081"]


@pytest.mark.parametrize(("port", "listed"), [(0, "10.13.0.50:9000"), (8081, "10.13.0.50:8081")])
def test_advertised_port_stands_for_the_udp_port(network: MemoryNetwork, port: int, listed: str) -> None:
    grape = lone_grape(network, "10.13.0.50", advertise="10.13.0.50:9000", dht_bootstrap=[FIRST])
    first = lone_grape(network)
    network.clock.advance(10)
    assert network.result(grape.announce("a", port)) == 1
    for asked in (grape, first):
        assert network.result(asked.lookup("a")) == [listed]


def test_advertised_name_is_resolved(network: MemoryNetwork) -> None:
    grape = lone_grape(network, "10.13.0.50", advertise="outside.example")
    network.result(grape.announce("a", 1))
    network.names["outside.example"] = "10.13.0.50"
    network.clock.advance(6)
    assert network.result(grape.lookup("a")) == ["10.13.0.50:1"]
    network.result(grape.stopService())


def test_services_behind_a_loopback_contact_are_told_to_a_newcomer_within_seconds(network: MemoryNetwork) -> None:
    # The first contact of the second grape is at a loopback address: no newcomer is told of the second one.
    newcomer = Remote(network, "10.0.0.9")
    known: list[tuple[bytes, tuple[str, int]]] = []
    Remote(network, "127.0.0.1", lambda query: {**friendly(query), b"nodes": encode_nodes(known)})
    second = lone_grape(network, "10.0.0.2", dht_bootstrap=["127.0.0.1:20001"])
    network.clock.advance(300)
    assert second.stats().contacts == 1
    assert network.result(second.announce("a", 1337)) == 1
    known.append((newcomer.id, newcomer.address))
    network.clock.advance(10)
    # A node at a loopback address may name any address.
    assert second.stats().contacts == 2
    # The announce is told at once, though it was made lately: nobody else tells the newcomer of it.
    assert b"announce_peer" in newcomer.methods()
