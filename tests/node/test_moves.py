"""A grape that comes back with its node id at another address or port, and one whose address changes as it runs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from grape import Grape
from grape.dht.compact import Address
from grape.dht.items import Item
from grape.dht.nodeid import distance
from grape.testing import MemoryNetwork, host_name, make_grape, make_grapes

SOON_SECONDS = 10.0


def contacts(grape: Grape) -> set[Address]:
    return {contact.address for contact in grape.node._table}


def at(grape: Grape) -> Address:
    assert grape.dht_address is not None
    return grape.dht_address


@pytest.mark.parametrize("others", [2, 26])
@pytest.mark.parametrize("way", ["port", "host"])
@pytest.mark.parametrize("away", [0.0, 8.0, 100.0])
def test_grape_back_with_its_id_at_another_address_is_listed_there_within_ten_seconds(
    network: MemoryNetwork, tmp_path: Path, others: int, way: str, away: float
) -> None:
    state = str(tmp_path / "state.sqlite")
    ring = make_grapes(network, others)
    old = make_grape(network, 50, state=state)
    network.result(old.announce("svc", 1_337))
    network.clock.advance(90)
    assert old.dht_address is not None
    old_address, node_id = at(old), old.node.node_id
    assert sum(old_address in contacts(grape) for grape in ring) >= min(others, 20)
    network.result(old.stopService())
    network.clock.advance(away)

    new = make_grape(network, 50 if way == "port" else 51, state=state, dht_port=20_003)
    assert new.node.node_id == node_id
    # Nobody else holds it, and of all nodes this one is the closest to it.
    items = [Item(b"i%de" % number) for number in range(1_000)]
    item = min(items, key=lambda item: distance(item.target, node_id))
    new.node._item_store.put(item)
    network.clock.advance(SOON_SECONDS)
    assert sum(at(new) in contacts(grape) for grape in ring) >= min(others, 20)
    assert not any(old_address in contacts(grape) for grape in ring)
    for grape in ring:
        got = network.result(grape.get(item.target.hex()))
        assert got is not None
        assert got.item == item
    expected = {f"{host_name(50)}:1337", f"{at(new)[0]}:1337"}
    for grape in [*ring, new]:
        found = network.result(grape.lookup("svc"))
        assert f"{at(new)[0]}:1337" in found
        assert set(found) <= expected


def test_own_copy_of_a_service_follows_a_grape_that_is_back_at_another_address(
    network: MemoryNetwork, tmp_path: Path
) -> None:
    state = str(tmp_path / "state.sqlite")
    grape = make_grape(network, 50, state=state, dht_bootstrap=[])
    network.result(grape.announce("svc", 1_337))
    other = make_grape(network, 1, dht_bootstrap=[f"{host_name(50)}:20001"])
    network.clock.advance(10)
    assert network.result(grape.lookup("svc")) == [f"{host_name(50)}:1337"]
    for each in (grape, other):
        network.result(each.stopService())
    back = make_grape(network, 51, state=state, dht_bootstrap=[])
    assert network.result(back.lookup("svc")) == ["127.0.0.1:1337"]
    make_grape(network, 2, dht_bootstrap=[f"{host_name(51)}:20001"])
    network.clock.advance(10)
    assert network.result(back.lookup("svc")) == [f"{host_name(51)}:1337"]


def test_announces_are_made_again_when_the_own_address_changes_once_in_half_a_minute(network: MemoryNetwork) -> None:
    ring = make_grapes(network, 3)
    for number in range(3):
        network.result(ring[0].announce(f"svc {number}", 1_337))
    network.clock.advance(60)
    before = ring[0].stats().counters["renewed"]
    for host, renewed in (("10.0.0.91", 3), ("10.0.0.92", 3), ("10.0.0.92", 3)):
        ring[0].node._own_address._interface = partial(str, host)
        network.clock.advance(SOON_SECONDS)
        assert ring[0].stats().counters["renewed"] - before == renewed
    network.clock.advance(30)
    assert ring[0].stats().counters["renewed"] - before == 6


def move(network: MemoryNetwork, grape: Grape, host: str) -> None:
    """Gives the host of a running grape another address: its socket is bound to all addresses and stays open."""
    old = at(grape)
    port = network.ports.pop(old)
    reactor = network.reactor(old[0])
    port.address = (host, old[1])
    network.ports[port.address] = port
    reactor.host = host


@pytest.mark.parametrize("others", [2, 26])
def test_services_of_a_running_grape_whose_address_changes_are_found_there_within_fifteen_seconds(
    network: MemoryNetwork, others: int
) -> None:
    ring = make_grapes(network, others)
    grape = make_grape(network, 50)
    network.result(grape.announce("svc", 1_337))
    network.clock.advance(60)
    old, new = at(grape), (host_name(51), 20_001)
    move(network, grape, new[0])
    network.clock.advance(15)
    for other in [*ring, grape]:
        assert f"{new[0]}:1337" in network.result(other.lookup("svc"))
    assert sum(new in contacts(other) for other in ring) >= min(others, 20)
    assert not any({old, new} <= contacts(other) for other in ring)
    # A change once more, back to the first address.
    move(network, grape, old[0])
    network.clock.advance(45)
    for other in [*ring, grape]:
        assert f"{old[0]}:1337" in network.result(other.lookup("svc"))


def test_running_grape_without_services_whose_address_changes_is_listed_there_within_fifteen_seconds(
    network: MemoryNetwork,
) -> None:
    ring = make_grapes(network, 26)
    grape = make_grape(network, 50)
    network.clock.advance(60)
    new = (host_name(51), 20_001)
    move(network, grape, new[0])
    network.clock.advance(15)
    assert sum(new in contacts(other) for other in ring) >= 20
