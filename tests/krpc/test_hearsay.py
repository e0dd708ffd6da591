"""Addresses that a node names and that never answer: asked by lookups, and waited for by one of many."""

from __future__ import annotations

import itertools
import random

import pytest

from grape.dht import messages as krpc
from grape.dht.bencoding import BValue
from grape.dht.compact import Address, encode_nodes, encode_peer
from grape.dht.hearsay import MARK_SECONDS, MAX_MARKS_PER_TELLER
from grape.dht.messages import Query
from grape.testing import MemoryNetwork, host_name, make_grapes
from tests.simulation import Bare, Remote, Traffic, friendly, silent

KEY = b"rest:util:net"
PEER = ("10.7.7.7", 1337)
PUBLISHED = ("10.0.0.5", 20_011)


class Ring:
    """A protocol with two contacts, which have a peer and name ``named``, a node that does not answer."""

    def __init__(self, network: MemoryNetwork, named: Address = PUBLISHED) -> None:
        self.network = network
        self.has_peer = True
        self.bare = Bare(network)
        self.named = Remote(network, named[0], silent, port=named[1])
        self.contacts = [Remote(network, f"10.0.0.{n}", self.reply) for n in (1, 2)]
        self.bare.knows(*self.contacts)
        for contact in self.contacts:
            network.result(self.bare.protocol.ping(contact.address))

    def reply(self, query: Query) -> dict[bytes, BValue]:
        nodes = encode_nodes([(self.named.id, self.named.address)])
        values: dict[bytes, BValue] = {b"values": [encode_peer(PEER)]} if self.has_peer else {}
        return {**friendly(query), b"nodes": nodes, **values}

    def seconds_of_lookup(self) -> float:
        began = self.network.clock.seconds()
        found = self.network.result(self.bare.protocol.get_peers(KEY))
        assert set(found.peers) == ({PEER} if self.has_peer else set())
        return self.network.clock.seconds() - began


@pytest.fixture
def ring(network: MemoryNetwork) -> Ring:
    return Ring(network)


@pytest.mark.parametrize("has_peer", [True, False])
def test_address_that_never_answers_is_waited_for_by_one_lookup_alone(ring: Ring, has_peer: bool) -> None:
    ring.has_peer = has_peer
    traffic = Traffic(ring.network)
    assert ring.seconds_of_lookup() > 0.03
    for _ in range(40):
        ring.network.clock.advance(0.1)
        # A round trip to the contacts, and none to the address, of which it is told then.
        assert ring.seconds_of_lookup() == pytest.approx(0.002)
    # It is asked all the same.
    assert len(traffic.queries(b"get_peers", to=PUBLISHED)) >= 41


def test_address_is_waited_for_again_when_its_mark_ends(ring: Ring) -> None:
    waits = []
    for _ in range(2_000):
        if ring.seconds_of_lookup() > 0.03:
            waits.append(ring.network.clock.seconds())
        ring.network.clock.advance(0.1)
    pauses = [later - earlier for earlier, later in itertools.pairwise(waits)]
    assert pauses == [pytest.approx(pause, abs=0.3) for pause in (*MARK_SECONDS, MARK_SECONDS[-1])]


def test_lookup_with_many_at_once_marks_an_address_once(ring: Ring) -> None:
    lookups = [ring.bare.protocol.get_peers(b"%d" % number) for number in range(50)]
    ring.network.result(lookups[-1])
    ring.network.clock.advance(2)
    assert [mark.count for mark in ring.bare.protocol.queries.hearsay.marks.values()] == [0]


@pytest.mark.parametrize("sign", ["answer", "query", "garbage"])
def test_mark_ends_at_any_datagram_from_the_address(ring: Ring, sign: str) -> None:
    ring.seconds_of_lookup()
    marks = ring.bare.protocol.queries.hearsay.marks
    assert list(marks) == [PUBLISHED]
    if sign == "answer":
        # A late one, to the query that was not answered in time.
        ring.named.send(krpc.encode_response(b"??", {b"id": ring.named.id}, b""), ring.bare.address)
    elif sign == "query":
        ring.named.ask(ring.bare.address, b"ping")
    else:
        ring.named.send(b"garbage", ring.bare.address)
    ring.network.clock.advance(0.01)
    assert not marks


def test_marked_node_that_answers_again_is_found_by_the_same_lookup(ring: Ring) -> None:
    """Its answer comes in time, as it is queried with the others; from then on it is a contact."""
    ring.seconds_of_lookup()
    ring.named.reply = friendly
    late = Remote(ring.network, "10.0.0.9", ring.reply, delay=0.01)
    ring.bare.knows(late)
    found = ring.network.result(ring.bare.protocol.get_peers(KEY))
    assert ring.named.address in [candidate.address for candidate in found.lookup.closest]
    assert ring.bare.table.at(PUBLISHED) is not None


def test_bootstrap_entry_is_never_marked(ring: Ring) -> None:
    ring.bare.protocol.queries.never_marked.add(PUBLISHED)
    for _ in range(3):
        assert ring.seconds_of_lookup() > 0.03
    assert not ring.bare.protocol.queries.hearsay.marks


def test_contact_is_never_marked(ring: Ring) -> None:
    ring.bare.knows(ring.named)
    ring.seconds_of_lookup()
    assert not ring.bare.protocol.queries.hearsay.marks


def test_querier_that_is_being_pinged_is_not_marked(ring: Ring) -> None:
    ring.named.ask(ring.bare.address, b"ping")
    ring.network.clock.advance(0.01)
    ring.seconds_of_lookup()
    assert not ring.bare.protocol.queries.hearsay.marks
    # The ping fails: it does not answer us.
    ring.network.clock.advance(3)
    ring.seconds_of_lookup()
    assert list(ring.bare.protocol.queries.hearsay.marks) == [PUBLISHED]


def test_liar_makes_few_addresses_marked(ring: Ring) -> None:
    dice = random.Random(1)
    liar = ring.contacts[0]

    def lie(query: Query) -> dict[bytes, BValue]:
        nodes = [(dice.randbytes(20), (f"10.66.{dice.randrange(256)}.{dice.randrange(256)}", 1)) for _ in range(16)]
        return {**friendly(query), b"nodes": encode_nodes(nodes)}

    liar.reply = lie
    for _ in range(20):
        ring.seconds_of_lookup()
        ring.network.clock.advance(0.2)
    marks = ring.bare.protocol.queries.hearsay.marks
    assert sum(mark.told_by == liar.address for mark in marks.values()) == MAX_MARKS_PER_TELLER
    assert PUBLISHED in marks


def test_lookups_in_a_ring_with_a_published_port_are_as_fast_as_without() -> None:
    """Half of the ring cannot reach a member, as the siblings behind its NAT; the other half names it to them."""
    network = MemoryNetwork(5, latency=lambda dice: 0.00025)
    grapes = make_grapes(network, 6)
    for host in (host_name(number) for number in range(3, 6)):
        network.block(host, host_name(6))
        network.block(host_name(6), host)
    network.clock.advance(60)
    network.result(grapes[0].announce("held", 1337))
    times = []
    for _ in range(100):
        began = network.clock.seconds()
        assert network.result(grapes[3].lookup("held")) == ["10.0.0.1:1337"]
        times.append(network.clock.seconds() - began)
        network.clock.advance(0.5)
    times.sort()
    assert times[50] < 0.002
    assert times[98] < 0.1
