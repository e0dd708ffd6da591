"""grape.node.watch: what has changed of the contacts and services of a node since the look before."""

from __future__ import annotations

import pytest

from grape.dht.buckets import GOOD_SECONDS, Contact
from grape.node.watch import HEARD_SECONDS, LOOKS_PER_CHOICE, MAX_PEERS, MAX_SERVICES, PeerRow, ServiceRow, Watch
from grape.store import MemoryPeers
from grape.testing import HeapClock

START = 1_000.0
MAX_AGE = 240.0


class Watched:
    """A watch of some contacts and services at a time."""

    def __init__(self) -> None:
        self.clock = HeapClock()
        self.clock.advance(START)
        self.contacts: list[Contact] = []
        self.peers = MemoryPeers(MAX_AGE, max_keys=10 * MAX_SERVICES)
        self.watch = Watch(self.clock, START, self.contacts, self.peers)

    def contact(self, number: int) -> Contact:
        """Adds a contact, which answered now."""
        contact = Contact(bytes([number]) * 20, ("10.0.0.1", number), self.clock.seconds())
        contact.round_trip = 0.01
        self.contacts.append(contact)
        return contact

    def announce(self, name: str, port: int = 1) -> None:
        self.peers.announce(name.encode(), ("10.0.0.2", port), self.clock.seconds())


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_contact_is_told_once_until_it_has_changed(watched: Watched) -> None:
    contact = watched.contact(7)
    watched.clock.advance(2)
    (row,) = watched.watch.look().nodes
    assert row == (bytes([7] * 20).hex(), "10.0.0.1:7", 0.01, 0.0, True)
    assert watched.watch.look().nodes == []
    contact.round_trip = 0.02
    assert [row.round_trip for row in watched.watch.look().nodes] == [0.02]
    watched.clock.advance(GOOD_SECONDS)
    assert [row.is_good for row in watched.watch.look().nodes] == [False]


def test_contact_that_answers_each_second_is_told_seldom(watched: Watched) -> None:
    contact = watched.contact(7)
    told = 0
    for _ in range(20):
        contact.heard_at = watched.clock.seconds()
        told += len(watched.watch.look().nodes)
        watched.clock.advance(1)
    assert told == 20 / HEARD_SECONDS


def test_slow_drift_of_a_round_trip_adds_up_to_a_change(watched: Watched) -> None:
    contact = watched.contact(7)
    watched.watch.look()
    told = []
    for _ in range(9):
        contact.round_trip *= 1.01
        told += watched.watch.look().nodes
    assert len(told) == 1


def test_contact_that_is_dropped_is_gone(watched: Watched) -> None:
    watched.contact(7)
    watched.watch.look()
    del watched.contacts[0]
    assert watched.watch.look().gone_nodes == [bytes([7] * 20).hex()]
    assert watched.watch.look().gone_nodes == []


def test_unmeasured_round_trip_is_none(watched: Watched) -> None:
    watched.contacts.append(Contact(bytes(20), ("10.0.0.1", 1), START))
    assert [row.round_trip for row in watched.watch.look().nodes] == [None]


def test_service_has_its_newest_peers_newest_first(watched: Watched) -> None:
    for port in range(1, 6):
        watched.announce("rest:util:net", port)
        watched.clock.advance(1)
    (row,) = watched.watch.look().services
    assert row[:3] == (b"rest:util:net".hex(), "rest:util:net", 5)
    assert row.peers == [("10.0.0.2:5", 4.0), ("10.0.0.2:4", 3.0), ("10.0.0.2:3", 2.0)]
    assert len(row.peers) == MAX_PEERS
    assert watched.watch.look().services == []
    watched.announce("rest:util:net", 5)
    assert len(watched.watch.look().services) == 1


def test_service_is_gone_as_its_last_peer_expires(watched: Watched) -> None:
    watched.announce("a")
    watched.watch.look()
    watched.clock.advance(MAX_AGE)
    changes = watched.watch.look()
    assert (changes.gone_services, changes.all_services) == ([b"a".hex()], 0)


def test_bytes_of_a_name_that_are_no_text_are_shown(watched: Watched) -> None:
    watched.peers.announce(b"\xff\x00", ("10.0.0.2", 1), watched.clock.seconds())
    assert watched.watch.look().services == [ServiceRow("ff00", "\\xff\x00", 1, [PeerRow("10.0.0.2:1", 0.0)])]


def test_everything_is_what_the_changes_add_up_to(watched: Watched) -> None:
    watched.contact(7)
    watched.announce("a")
    first = watched.watch.look()
    watched.announce("b")
    everything = watched.watch.everything()
    assert (everything.nodes, everything.services) == (first.nodes, first.services)


def test_first_services_are_followed_if_there_are_very_many(watched: Watched) -> None:
    for number in range(MAX_SERVICES + 500):
        watched.announce(f"{number + 1:05}")
    changes = watched.watch.look()
    names = [row.name for row in changes.services]
    assert names == sorted(names)
    assert (len(names), names[-1], changes.all_services) == (MAX_SERVICES, "01000", MAX_SERVICES + 500)
    watched.announce("00000")
    looks = [watched.watch.look() for _ in range(LOOKS_PER_CHOICE)]
    assert [row.name for look in looks for row in look.services] == ["00000"]
    assert [key for look in looks for key in look.gone_services] == [b"01000".hex()]
