"""grape.krpc.queries: queries to addresses without a process, and the round trips that answers measure."""

from __future__ import annotations

import pytest

from grape.dht import messages as krpc
from grape.dht.buckets import UNMEASURED_SECONDS
from grape.dht.compact import Address
from grape.dht.errors import QueryFailed
from grape.dht.messages import Response
from grape.dht.transactions import QUERY_TIMEOUT_SECONDS, Pending
from grape.testing import MemoryNetwork
from tests.simulation import Bare, Remote, Traffic, silent


class Recorded:
    """Keeps how a query ends."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def answered(self, pending: Pending, response: Response) -> None:
        self.told.append("answered")

    def slow(self, pending: Pending) -> None:
        self.told.append("slow")

    def failed(self, pending: Pending, reason: QueryFailed) -> None:
        self.told.append("failed")


class Asked:
    """Sends one ping, and has its transaction id."""

    def __init__(self, network: MemoryNetwork, bare: Bare, to: Address) -> None:
        traffic = Traffic(network)
        self.recorded = Recorded()
        queries = bare.protocol.queries
        assert queries.send(to, 0.0, queries.frame(b"ping", {}), queries.counts[b"ping"], self.recorded)
        transaction_id = traffic.sent[-1][3].transaction_id
        assert isinstance(transaction_id, bytes)
        self.transaction_id = transaction_id


def test_unreachable_query_is_slow_at_once_and_fails_at_its_time(network: MemoryNetwork) -> None:
    bare = Bare(network)
    node = Remote(network, "10.0.0.1", silent)
    asked = Asked(network, bare, node.address)
    for _ in range(3):
        bare.protocol.queries.unreachable(node.address, asked.transaction_id)
    # Not yet: a lookup may be sending its queries.
    assert asked.recorded.told == []
    network.clock.advance(0)
    assert asked.recorded.told == ["slow"]
    assert bare.protocol.counters.slow == 1
    network.clock.advance(QUERY_TIMEOUT_SECONDS)
    assert asked.recorded.told == ["slow", "failed"]
    assert bare.protocol.counters.slow == 1


def test_unreachable_query_can_be_answered(network: MemoryNetwork) -> None:
    bare = Bare(network)
    node = Remote(network, "10.0.0.1")
    asked = Asked(network, bare, node.address)
    bare.protocol.queries.unreachable(node.address, asked.transaction_id)
    network.clock.advance(1)
    assert asked.recorded.told == ["slow", "answered"]
    assert bare.protocol.pending == 0


@pytest.mark.parametrize("wrong", ["address", "port", "transaction id"])
def test_unreachable_ignores_what_is_not_in_flight(network: MemoryNetwork, wrong: str) -> None:
    bare = Bare(network)
    node = Remote(network, "10.0.0.1", silent)
    asked = Asked(network, bare, node.address)
    address = {"address": ("10.0.0.2", 20_001), "port": ("10.0.0.1", 1)}.get(wrong, node.address)
    bare.protocol.queries.unreachable(address, b"" if wrong == "transaction id" else asked.transaction_id)
    network.clock.advance(0.1)
    assert asked.recorded.told == []


def test_unreachable_query_is_not_told_twice_by_a_stop(network: MemoryNetwork) -> None:
    bare = Bare(network)
    node = Remote(network, "10.0.0.1", silent)
    asked = Asked(network, bare, node.address)
    bare.protocol.queries.unreachable(node.address, asked.transaction_id)
    bare.port.stopListening()
    network.clock.advance(1)
    assert asked.recorded.told == ["failed"]
    assert not network.clock.getDelayedCalls()


def test_liveness_ping_measures_no_round_trip(network: MemoryNetwork) -> None:
    bare = Bare(network)
    node = Remote(network, "10.0.0.1", delay=0.4)
    node.ask(bare.address, b"ping")
    network.clock.advance(2)
    (contact,) = bare.table
    assert contact.round_trip == UNMEASURED_SECONDS
    network.result(bare.protocol.ping(node.address))
    assert contact.round_trip == pytest.approx(0.402)


class Kernel:
    """Reports each query to an address where no process listens, as the system does after an ICMP error."""

    def __init__(self, network: MemoryNetwork, bare: Bare, dead: Address) -> None:
        self.reports = 0
        self._network = network
        self._bare = bare
        self._dead = dead
        network.sent = self._saw

    def _saw(self, source: Address, destination: Address, datagram: bytes) -> None:
        transaction_id = krpc.decode(datagram).transaction_id
        if destination == self._dead and isinstance(transaction_id, bytes):
            self.reports += 1
            self._network.clock.callLater(0.0002, self._bare.protocol.queries.unreachable, destination, transaction_id)


@pytest.mark.parametrize("method", ["get_peers", "get"])
def test_empty_lookup_ends_after_two_reports_of_a_dead_process(network: MemoryNetwork, method: str) -> None:
    bare = Bare(network)
    dead = Remote(network, "10.0.0.1", silent)
    bare.knows(dead, Remote(network, "10.0.0.2"))
    kernel = Kernel(network, bare, dead.address)
    if method == "get_peers":
        network.result(bare.protocol.get_peers(b"key"))
    else:
        network.result(bare.protocol.get(b"k" * 20))
    # The round trip to the other node.
    assert network.clock.seconds() == pytest.approx(0.002)
    assert kernel.reports == 2
    assert bare.table.at(dead.address) is not None


def test_lookup_of_dead_processes_alone_waits_for_their_answers(network: MemoryNetwork) -> None:
    """The reports may be forged, or the process may be starting."""
    bare = Bare(network)
    dead = Remote(network, "10.0.0.1", delay=0.5)
    bare.knows(dead)
    Kernel(network, bare, dead.address)
    assert network.result(bare.protocol.get_peers(b"key")).lookup.answered == 1


def test_announce_with_a_dead_holder_does_not_wait_for_it(network: MemoryNetwork) -> None:
    bare = Bare(network)
    dead = Remote(network, "10.0.0.1")
    bare.knows(dead, Remote(network, "10.0.0.2"))
    network.result(bare.protocol.get_peers(b"key"))
    dead.reply = silent
    Kernel(network, bare, dead.address)
    began = network.clock.seconds()
    written = network.result(bare.protocol.announce_peer(b"key", 1))
    assert (written.asked, written.accepted, written.unanswered) == (2, 1, 1)
    assert network.clock.seconds() - began == pytest.approx(0.002)
