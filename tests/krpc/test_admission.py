"""grape.krpc.admission: limits on what is sent to addresses that never answered and may be spoofed."""

from __future__ import annotations

import pytest

from grape.dht import messages as krpc
from grape.dht.addresses import PublicRules
from grape.dht.compact import Address
from grape.dht.routing import RoutingTable
from grape.dht.transactions import Outcome
from grape.krpc.admission import (
    ALL_STRANGERS_BYTES_PER_SECOND,
    LIVENESS_CHECKS_AT_ONCE,
    LIVENESS_CHECKS_PER_SECOND,
    STRANGER_BYTES_PER_SECOND,
    STRANGER_SECONDS,
    Admission,
)
from grape.metrics import Counters
from grape.testing import MemoryNetwork
from tests.simulation import Bare, Remote, Traffic, silent

VICTIM = ("9.9.9.9", 6_881)
PING = krpc.encode_query(b"aa", b"ping", {b"id": b"x" * 20})
REFUSED = krpc.encode_query(b"aa", b"get_peers", {b"id": b"x" * 20})
MALFORMED = b"d1:ale1:q4:ping1:t2:aa1:y1:qe"


@pytest.fixture
def bare(network: MemoryNetwork) -> Bare:
    bare = Bare(network)
    bare.table.rules = PublicRules()
    return bare


def host(n: int) -> Address:
    return f"9.{n >> 16}.{n >> 8 & 255}.{n & 255}", 6_881


def bytes_sent_to_the_victim(network: MemoryNetwork, bare: Bare, datagram: bytes, times: int) -> int:
    sizes: list[int] = []
    network.sent = lambda source, destination, sent: sizes.append(len(sent)) if destination == VICTIM else None
    for _ in range(times):
        bare.protocol.datagramReceived(datagram, VICTIM)
    return sum(sizes)


@pytest.mark.parametrize("datagram", [PING, REFUSED, MALFORMED], ids=["answers", "refusals", "errors"])
def test_bytes_to_an_address_that_never_answered_are_limited_in_public(
    network: MemoryNetwork, bare: Bare, datagram: bytes
) -> None:
    sent = bytes_sent_to_the_victim(network, bare, datagram, 2_000)
    assert STRANGER_BYTES_PER_SECOND - 200 < sent <= STRANGER_BYTES_PER_SECOND
    assert bare.protocol.counters.shaped > 1_000
    network.clock.advance(1)
    assert 0 < bytes_sent_to_the_victim(network, bare, datagram, 2_000) <= STRANGER_BYTES_PER_SECOND


def test_bytes_to_all_addresses_that_never_answered_are_limited_in_public(network: MemoryNetwork, bare: Bare) -> None:
    sizes: list[int] = []
    network.sent = lambda source, destination, sent: sizes.append(len(sent))
    for n in range(20_000):
        bare.protocol.datagramReceived(PING, host(n))
    assert ALL_STRANGERS_BYTES_PER_SECOND - 200 < sum(sizes) <= ALL_STRANGERS_BYTES_PER_SECOND


def test_liveness_checks_count_as_bytes_in_public(network: MemoryNetwork, bare: Bare) -> None:
    sizes: list[int] = []
    network.sent = lambda source, destination, sent: sizes.append(len(sent))
    for port in range(1, 501):
        bare.protocol.datagramReceived(PING, (VICTIM[0], port))
    assert STRANGER_BYTES_PER_SECOND - 200 < sum(sizes) <= STRANGER_BYTES_PER_SECOND
    assert bare.protocol.counters.queries_out > 10


def test_liveness_checks_of_queriers_are_rate_limited(network: MemoryNetwork) -> None:
    bare = Bare(network)
    traffic = Traffic(network)
    for n in range(20_000):
        bare.protocol.datagramReceived(PING, host(n))
        network.clock.advance(0.001)
    pings = len(traffic.queries(b"ping"))
    assert LIVENESS_CHECKS_AT_ONCE < pings <= LIVENESS_CHECKS_AT_ONCE + 20 * LIVENESS_CHECKS_PER_SECOND + 1
    assert bare.protocol.counters.shaped > 10_000


def test_querier_that_was_not_pinged_for_the_limit_is_pinged_at_its_next_query(network: MemoryNetwork) -> None:
    bare = Bare(network)
    for n in range(1_000):
        bare.protocol.datagramReceived(PING, host(n))
    node = Remote(network, "10.0.0.1")
    node.ask(bare.address, b"ping")
    network.clock.advance(0.1)
    assert not bare.ears.listed
    network.clock.advance(3)
    node.ask(bare.address, b"ping")
    network.clock.advance(0.1)
    assert bare.ears.listed == [node.address]


def test_querier_is_pinged_once_a_minute_unless_max_strangers_others_came_since() -> None:
    pinged: list[Address] = []

    def ping(address: Address, outcome: Outcome) -> bool:
        pinged.append(address)
        # The ping could not be sent: the check has ended and the querier is not listed.
        return False

    admission = Admission(RoutingTable(bytes(20)), ping, Counters(), max_liveness_checks=512, max_strangers=2)
    for n, now in ((1, 0.0), (1, STRANGER_SECONDS - 1), (1, STRANGER_SECONDS), (2, 61.0), (3, 62.0), (1, 63.0)):
        admission.queried(b"x" * 20, host(n), now)
    assert pinged == [host(1), host(1), host(2), host(3), host(1)]


def lose(network: MemoryNetwork, bare: Bare, remote: Remote) -> None:
    """Has a contact dropped because it answers nothing."""
    reply, remote.reply = remote.reply, silent
    while bare.table.at(remote.address) is not None:
        bare.protocol.check_liveness(remote.address, remote.id)
        network.clock.advance(2.5)
    remote.reply = reply


def test_querier_that_is_back_within_its_first_minute_is_listed_at_its_next_query(network: MemoryNetwork) -> None:
    bare, remote = Bare(network), Remote(network, "10.0.0.2")
    remote.ask(bare.address, b"ping")
    network.clock.advance(0.1)
    assert bare.ears.listed == [remote.address]
    lose(network, bare, remote)
    assert network.clock.seconds() < STRANGER_SECONDS / 2
    remote.ask(bare.address, b"ping")
    network.clock.advance(0.1)
    assert bare.ears.listed == [remote.address] * 2


def test_replacement_that_took_a_place_and_was_dropped_is_pinged_again_at_its_next_query(
    network: MemoryNetwork,
) -> None:
    pinged: list[Address] = []

    def ping(address: Address, outcome: Outcome) -> bool:
        pinged.append(address)
        return False

    admission = Admission(RoutingTable(bytes(20)), ping, Counters(), max_liveness_checks=512, max_strangers=4_096)
    for now in (0.0, 1.0):
        admission.queried(b"x" * 20, host(1), now)
    admission.listed(b"x" * 20, host(1))
    admission.queried(b"x" * 20, host(1), 2.0)
    assert pinged == [host(1)] * 2


def test_nodes_that_cannot_list_each_other_do_not_ping_each_other_for_ever(network: MemoryNetwork) -> None:
    # The id of each is that of a contact elsewhere, which answers and is kept.
    first, second = Bare(network, "10.0.0.1"), Bare(network, "10.0.0.2")
    for bare, other, host in ((first, second, "10.0.0.3"), (second, first, "10.0.0.4")):
        kept = Remote(network, host)
        kept.id = other.table.own_id
        bare.knows(kept)
    traffic = Traffic(network)
    first.protocol.check_liveness(second.address)
    network.clock.advance(30)
    assert len(traffic.queries(b"ping")) <= 1 + 2


def test_answer_that_comes_after_its_node_was_dropped_has_it_pinged(network: MemoryNetwork) -> None:
    bare, remote = Bare(network), Remote(network, "10.0.0.2")
    bare.knows(remote)
    lose(network, bare, remote)
    pings = remote.methods().count(b"ping")
    remote.send(krpc.encode_response(b"zz", {b"id": remote.id}, bytes(6)), bare.address)
    network.clock.advance(0.1)
    assert remote.methods().count(b"ping") == pings + 1
    assert bare.table.at(remote.address) is not None
    # An answer that matches no query, from an address that was never dropped, has nobody pinged.
    stranger = Remote(network, "10.0.0.3")
    stranger.send(krpc.encode_response(b"zz", {b"id": stranger.id}, bytes(6)), bare.address)
    network.clock.advance(0.1)
    assert stranger.methods() == []
