"""grape.node.inspector: what a grape tells of itself, its contacts and its services."""

from __future__ import annotations

import time
from hashlib import sha1
from importlib.machinery import ExtensionFileLoader
from pathlib import Path

import attrs
import pytest

from grape import Grape, __version__
from grape.dht import lookup
from grape.dht.routing import RoutingTable
from grape.metrics import Counters
from grape.node.inspector import LISTED_PEERS, PAGE_BYTES, SHOWN_PEERS
from grape.node.status import LIMIT_COUNTERS, Contacts, PeerEntry
from grape.testing import MemoryNetwork, make_grapes
from tests.simulation import lone_grape

FIRST = "10.0.0.1:20001"


def table(grape: Grape) -> RoutingTable:
    return grape.node._table


def store(grape: Grape, key: bytes, *ports: int, age: float = 0.0) -> None:
    """Has a grape hold peers of a service."""
    for port in ports:
        grape.node._peer_store.announce(key, ("10.0.9.9", port), grape.node._reactor.seconds(), age=age)


@pytest.fixture
def grape(network: MemoryNetwork) -> Grape:
    """A grape that is alone."""
    return lone_grape(network)


# Status


def test_status_tells_what_a_grape_is(network: MemoryNetwork) -> None:
    first, second = make_grapes(network, 2)
    network.clock.advance(30)
    store(second, b"a", 1, 2)
    status = second.status()
    assert (status.version, status.node_id) == (__version__, second.stats().node_id)
    is_compiled = isinstance(lookup.__spec__.loader if lookup.__spec__ is not None else None, ExtensionFileLoader)
    assert status.build == ("compiled" if is_compiled else "pure")
    assert status.readiness.status == "ready"
    assert status.uptime == pytest.approx(30, abs=0.1)
    assert (status.dht_address, status.api_address, status.advertised) == ("10.0.0.2:20001", None, "10.0.0.2:20001")
    assert status.contacts == Contacts(1, 0)
    assert (status.services, status.items, status.queries_in_flight, status.state) == (1, 0, 0, None)
    network.result(second.stopService())
    network.result(first.stopService())
    stopped = second.status()
    assert (stopped.readiness.status, stopped.uptime, stopped.dht_address) == ("stopping", 0.0, None)


def test_status_counts_questionable_contacts(network: MemoryNetwork) -> None:
    first, second = make_grapes(network, 2)
    network.kill("10.0.0.1")
    network.clock.advance(8)
    assert second.status().contacts == Contacts(0, 1)
    assert second.status().readiness.problems == ("isolated",)
    assert first.status().contacts == Contacts(1, 0)


def test_status_tells_how_often_queries_come_and_go(network: MemoryNetwork) -> None:
    first, second = make_grapes(network, 2)
    for number in range(20):
        network.result(second.lookup(f"name {number}"))
        network.clock.advance(1)
    assert first.status().per_second.queries_in == pytest.approx(1, abs=0.3)
    assert second.status().per_second.queries_out == pytest.approx(1, abs=0.3)
    assert second.status().per_second.calls == 0.0
    network.clock.advance(70)
    # What is left are the pings of an idle network.
    assert second.status().per_second.queries_out < 0.3


def test_status_tells_the_whole_path_of_the_state_file(
    network: MemoryNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status = lone_grape(network, state="a.sqlite", host="10.0.0.1").status()
    assert status.state is not None
    assert status.state.file == str(tmp_path / "a.sqlite")


def test_status_tells_of_the_state_file(network: MemoryNetwork, tmp_path: Path) -> None:
    file = str(tmp_path / "a.sqlite")
    grape = lone_grape(network, state=file, host="10.0.0.1")
    status = grape.status()
    assert status.state is not None
    assert (status.state.file, status.state.last_commit, status.state.problem) == (file, None, None)
    assert status.advertised == "10.0.0.1:20001"
    network.clock.advance(15)
    status = grape.status()
    assert status.state is not None
    assert status.state.last_commit is not None
    assert status.state.last_commit < 11
    recorder = grape.node._recorder
    assert recorder is not None
    recorder.problem = "disk full"
    status = grape.status()
    assert status.state is not None
    assert (status.state.problem, status.readiness.problems) == ("disk full", ("degraded",))
    network.result(grape.stopService())


def test_status_tells_what_else_may_explain_a_failure(network: MemoryNetwork) -> None:
    grape = lone_grape(
        network, dht_bootstrap=["grape.example:7", "10.0.0.9:20001"], dht_peer_maxAge=90_000, max_peers_per_announcer=2
    )
    status = grape.status()
    assert status.bootstrap == ["grape.example:7", "10.0.0.9:20001"]
    assert (status.peer_max_age, status.read_only, status.connections) == (90.0, False, None)
    assert abs(status.time - time.time()) < 60
    assert status.descriptors.open is None or status.descriptors.open > 2
    assert status.descriptors.limit is None or status.descriptors.limit > 2
    assert status.limits_hit == {}
    for port in (1, 2, 3):
        grape.node._peer_store.announce(b"a", ("10.0.9.9", port), 0.0, ("10.0.9.9", 20001))
    assert grape.status().limits_hit == {"evicted_peers": 1, "evicted_peers_of_announcer": 1}


def test_counters_of_limits_are_counters() -> None:
    assert set(LIMIT_COUNTERS) <= set(Counters().as_dict())


def test_grape_whose_bootstrap_nodes_are_itself_is_ready_alone(network: MemoryNetwork) -> None:
    grape = lone_grape(network, dht_bootstrap=[FIRST])
    assert grape.status().readiness.status == "joining"
    network.clock.advance(10)
    assert grape.status().readiness.status == "ready"


def test_ring_that_starts_cold_is_ready_once_two_are_up(network: MemoryNetwork) -> None:
    entries = [f"10.0.0.{number}:20001" for number in (1, 2, 3)]
    first = lone_grape(network, "10.0.0.1", dht_bootstrap=entries)
    network.clock.advance(30)
    assert first.status().readiness.status == "isolated"
    second = lone_grape(network, "10.0.0.2", dht_bootstrap=entries)
    network.clock.advance(7)
    assert [grape.status().readiness.status for grape in (first, second)] == ["ready", "ready"]
    third = lone_grape(network, "10.0.0.3", dht_bootstrap=entries)
    network.clock.advance(7)
    assert third.status().readiness.is_ready


def test_grape_may_be_told_that_isolation_is_no_reason(network: MemoryNetwork) -> None:
    _, second = make_grapes(network, 2, ready_isolated=True)
    network.kill("10.0.0.1")
    network.clock.advance(20)
    readiness = second.status().readiness
    assert (readiness.status, readiness.is_ready) == ("isolated", True)


def test_grape_that_is_given_bootstrap_nodes_while_it_runs_watches_whether_it_is_isolated(
    network: MemoryNetwork,
) -> None:
    first, second = make_grapes(network, 2)
    network.clock.advance(60)
    entries = (("10.0.0.2", 20_001),)
    first.reconfigure(attrs.evolve(first.config, dht_bootstrap=entries))
    assert first.status().readiness.status == "ready"
    network.result(second.stopService())
    network.clock.advance(8)
    assert first.status().readiness.status == "isolated"
    first.reconfigure(attrs.evolve(first.config, dht_bootstrap=()))
    assert first.status().readiness.status == "ready"
    network.result(first.stopService())
    first.reconfigure(attrs.evolve(first.config, dht_bootstrap=entries))
    assert not first.node.running


# Contacts


def test_nodes_are_listed_by_id_in_pages_that_contacts_which_come_do_not_move(grape: Grape) -> None:
    ids = sorted(sha1(b"%d" % number).digest() for number in range(7))
    for number, node_id in enumerate(ids):
        table(grape).heard(node_id, (f"10.0.1.{number}", 1), 0.0, 0.25)
    tell = grape.node.inspector
    first = tell.nodes(b"", 3)
    assert [entry.id for entry in first.entries] == [node_id.hex() for node_id in ids[:3]]
    assert (first.next, first.total) == (ids[2].hex(), 7)
    assert (first.entries[0].address, first.entries[0].round_trip) == ("10.0.1.0:1", 0.25)
    table(grape).heard(bytes(20), ("10.0.2.1", 1), 0.0)
    assert first.next is not None
    second = tell.nodes(bytes.fromhex(first.next), 4)
    assert [entry.id for entry in second.entries] == [node_id.hex() for node_id in ids[3:]]
    assert (second.next, second.total) == (None, 8)
    assert tell.nodes(b"\xff" * 20, 1).entries == []


def test_nodes_have_their_state_and_when_they_were_heard(network: MemoryNetwork, grape: Grape) -> None:
    network.clock.advance(10)
    now = network.clock.seconds()
    table(grape).heard(b"a" * 20, ("10.0.1.1", 1), now - 4)
    table(grape).heard(b"b" * 20, ("10.0.1.2", 1), now - 4)
    table(grape).failed(("10.0.1.2", 1), now - 2, now)
    entries = grape.node.inspector.nodes(b"", 10).entries
    assert [(entry.last_heard, entry.state, entry.round_trip) for entry in entries] == [
        (4.0, "good", None),
        (4.0, "questionable", None),
    ]


# Services


def test_services_are_listed_by_name_with_their_peers_newest_first(network: MemoryNetwork, grape: Grape) -> None:
    network.clock.advance(100)
    for name in (b"b", b"\xff\x00", b"a"):
        store(grape, name, 1, age=30)
        store(grape, name, 2, age=10)
    page = grape.node.inspector.services(b"", 2)
    assert [(entry.name, entry.key, entry.peer_count) for entry in page.entries] == [("a", "61", 2), ("b", "62", 2)]
    assert page.entries[0].peers == [PeerEntry("10.0.9.9:2", 10.0), PeerEntry("10.0.9.9:1", 30.0)]
    assert (page.next, page.total) == ("62", 3)
    (last,) = grape.node.inspector.services(b"b", 2).entries
    assert (last.name, last.key) == ("\\xff\0", "ff00")


def test_service_that_expired_is_not_listed(network: MemoryNetwork, grape: Grape) -> None:
    store(grape, b"a", 1)
    network.clock.advance(30)
    store(grape, b"b", 1)
    network.clock.advance(215)
    assert [entry.name for entry in grape.node.inspector.services(b"", 10).entries] == ["b"]
    assert grape.node.inspector.service(b"a").entries == []


def test_one_service_is_shown_with_more_of_its_peers(grape: Grape) -> None:
    for host in range(6):
        for port in range(1, 201):
            grape.node._peer_store.announce(b"a", (f"10.0.8.{host}", port), 0.0)
    (listed,) = grape.node.inspector.services(b"", 1).entries
    assert (listed.peer_count, len(listed.peers)) == (1_200, LISTED_PEERS)
    (shown,) = grape.node.inspector.service(b"a").entries
    assert (shown.peer_count, len(shown.peers)) == (1_200, SHOWN_PEERS)
    assert shown.peers[0].address == "10.0.8.5:200"
    assert grape.node.inspector.service(b"b").entries == []


@pytest.mark.parametrize("length", [10, 8_000])
def test_page_of_services_is_bounded_in_size_and_none_is_passed_over(grape: Grape, length: int) -> None:
    names = sorted(b"%0*d" % (length, number) for number in range(300))
    for name in names:
        for port in range(1, 31):
            grape.node._peer_store.announce(name, ("10.0.8.1", port), 0.0)
    found, after, pages = [], b"", 0
    while True:
        page = grape.node.inspector.services(after, 1_000)
        pages += 1
        found += [bytes.fromhex(entry.key) for entry in page.entries]
        assert sum(len(entry.name) + len(entry.key) for entry in page.entries) < PAGE_BYTES + 3 * length
        if page.next is None:
            break
        after = bytes.fromhex(page.next)
    assert found == sorted(grape.node._peer_store)
    assert pages > 1
