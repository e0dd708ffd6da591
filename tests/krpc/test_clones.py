"""grape.krpc.clones: another node that answers with our own id is told from ourselves, asked at an address of ours."""

from __future__ import annotations

import pytest

from grape.dht import messages as krpc
from grape.dht.bencoding import BValue
from grape.dht.compact import Address, encode_nodes
from grape.dht.messages import Error, Query
from grape.krpc.clones import CHECKED_SECONDS, MAX_CHECKING, RETRY_SECONDS
from grape.testing import MemoryNetwork
from tests.simulation import Bare, Remote, Reply, friendly, refusing, silent


@pytest.fixture
def bare(network: MemoryNetwork) -> Bare:
    return Bare(network)


def clone_of(bare: Bare, host: str = "10.0.0.2") -> Remote:
    """Returns a node that answers with the id of ``bare``."""
    remote = Remote(bare.network, host)
    remote.id = bare.table.own_id
    return remote


def ask(bare: Bare, address: Address) -> None:
    """Sends one query, and lets all that follows from its answer happen."""
    bare.protocol.ping(address).addErrback(lambda _: None)
    bare.network.clock.advance(3)


def test_clone_is_found_by_two_more_answers(bare: Bare) -> None:
    clone = clone_of(bare)
    ask(bare, clone.address)
    assert bare.ears.clones == [clone.address]
    assert len({message.transaction_id for message in clone.heard if isinstance(message, Query)}) == 3
    assert not bare.protocol.clones.is_checking
    assert bare.ears.listed == []


def test_clone_is_not_pinged_again_for_some_minutes(bare: Bare) -> None:
    clone = clone_of(bare)
    for _ in range(10):
        ask(bare, clone.address)
    assert (bare.ears.clones, len(clone.heard)) == ([clone.address], 12)
    bare.network.clock.advance(CHECKED_SECONDS)
    ask(bare, clone.address)
    assert bare.ears.clones == [clone.address] * 2


def test_new_id_is_looked_for_at_once(bare: Bare) -> None:
    clone = clone_of(bare)
    ask(bare, clone.address)
    bare.table.adopt(b"n" * 20)
    bare.protocol.node_id_changed()
    clone.id = b"n" * 20
    ask(bare, clone.address)
    assert bare.ears.clones == [clone.address] * 2


def test_node_is_not_found_to_be_its_own_clone_at_another_address(bare: Bare) -> None:
    # As with a published port: what is sent there comes back to our own socket from that address, answers as well.
    class Relay(Remote):
        def datagramReceived(self, datagram: bytes, addr: Address) -> None:
            self.heard.append(krpc.decode(datagram))
            self.send(datagram, bare.address)

    relay = Relay(bare.network, "10.0.0.2")
    ask(bare, relay.address)
    assert relay.heard
    assert bare.ears.clones == []
    assert not bare.protocol.clones.is_checking


def test_node_itself_is_no_clone(bare: Bare) -> None:
    ask(bare, bare.address)
    assert bare.ears.clones == []
    assert bare.protocol.clones.is_checked(bare.address)
    assert not bare.protocol.clones._received


@pytest.mark.parametrize("then", [friendly, refusing, silent])
def test_single_ping_answered_with_our_id_is_not_enough(bare: Bare, then: Reply) -> None:
    other = Remote(bare.network, "10.0.0.2")
    answers = iter(range(10))

    def reply(query: Query) -> dict[bytes, BValue] | Error | None:
        return {b"id": bare.table.own_id} if next(answers) < 2 else then(query)

    other.reply = reply
    ask(bare, other.address)
    assert bare.ears.clones == []
    assert not bare.protocol.clones.is_checking


def test_address_that_did_not_answer_the_ping_is_pinged_again_after_some_seconds(bare: Bare) -> None:
    clone = clone_of(bare)
    clone.reply = lambda query: {} if query.method == b"find_node" else None
    for wait, pings in ((0.0, 1), (0.0, 1), (RETRY_SECONDS, 2)):
        bare.network.clock.advance(wait)
        bare.protocol.query(clone.address, b"find_node", {b"target": b"t" * 20}).addErrback(lambda _: None)
        bare.network.clock.advance(2.1)
        assert clone.methods().count(b"ping") == pings


def test_few_addresses_are_pinged_at_once(bare: Bare) -> None:
    for number in range(1_000):
        bare.protocol.clones.suspect((f"10.7.{number >> 8}.{number & 255}", 1), 0.0)
    assert bare.network.datagrams == MAX_CHECKING
    bare.network.clock.advance(3)
    assert not bare.protocol.clones.is_checking


def test_queries_with_our_id_are_kept_only_while_an_address_is_checked(bare: Bare) -> None:
    stranger = clone_of(bare, "10.0.0.3")
    for _ in range(10):
        stranger.ask(bare.address, b"ping")
    bare.network.clock.advance(1)
    assert not bare.protocol.clones._received
    # It is not pinged for its queries either.
    assert stranger.methods() == []


def test_clone_is_found_where_others_list_our_id(bare: Bare) -> None:
    clone = clone_of(bare)
    teller = Remote(bare.network, "10.0.0.3")
    teller.reply = lambda query: {b"nodes": encode_nodes([(bare.table.own_id, clone.address)])}
    bare.knows(teller)
    bare.protocol.find_node(bytes(20))
    bare.network.clock.advance(3)
    assert clone.heard == []
    bare.protocol.find_node(bare.table.own_id)
    bare.network.clock.advance(3)
    assert bare.ears.clones == [clone.address]


def test_contact_that_now_answers_with_our_id_is_dropped_in_the_end(bare: Bare) -> None:
    clone = Remote(bare.network, "10.0.0.2")
    bare.knows(clone)
    clone.id = bare.table.own_id
    for _ in range(5):
        ask(bare, clone.address)
    assert bare.table.at(clone.address) is None
    assert bare.ears.clones == [clone.address]
