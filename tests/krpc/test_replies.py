"""grape.krpc.endpoint: every kind of answer leaves by the socket, and from the address, that the query came to."""

from __future__ import annotations

from functools import partial

import pytest

from grape.dht import messages as krpc
from grape.dht.compact import Address
from grape.dht.messages import Error, Query, Response
from grape.state.journal import NullJournal, OnDurable
from grape.testing import MemoryNetwork
from tests.simulation import Bare, Traffic

ASKER = ("10.0.0.1", 20_001)
ID = b"x" * 20


class WaitingJournal(NullJournal):
    """Keeps puts waiting until ``done`` is called with a problem or None."""

    def __init__(self) -> None:
        self.waiting: list[OnDurable] = []

    def when_durable(self, done: OnDurable) -> None:
        self.waiting.append(done)


class Ways:
    """The ways by which datagrams left a protocol: ``to(name)`` makes one."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, krpc.Query | Response | Error]] = []

    def to(self, name: str, datagram: bytes, address: Address) -> None:
        assert address == ASKER
        self.sent.append((name, krpc.decode(datagram)))


@pytest.fixture
def ways() -> Ways:
    return Ways()


def ask(bare: Bare, ways: Ways, name: str, datagram: bytes) -> None:
    """Gives a protocol a datagram, as a port does that answers by the way ``name``."""
    bare.protocol.reply_by = partial(ways.to, name)
    bare.protocol.datagramReceived(datagram, ASKER)


QUERIES = {
    "ping": krpc.encode_query(b"aa", b"ping", {b"id": ID}),
    "get_peers": krpc.encode_query(b"aa", b"get_peers", {b"id": ID, b"info_hash": b"k" * 20}),
    "refused": krpc.encode_query(b"aa", b"nothing", {b"id": ID}),
    "malformed": b"d1:ale1:q4:ping1:t2:aa1:y1:qe",
}


@pytest.mark.parametrize("datagram", QUERIES.values(), ids=QUERIES)
def test_answer_leaves_by_the_way_of_its_query(network: MemoryNetwork, ways: Ways, datagram: bytes) -> None:
    bare, traffic = Bare(network), Traffic(network)
    for name in ("a", "b"):
        ask(bare, ways, name, datagram)
    assert [name for name, _ in ways.sent] == ["a", "b"]
    assert not any(isinstance(message, Query) for _, message in ways.sent)
    # Queries, here the ping to one that may be listed, leave by the socket's own way.
    assert all(isinstance(message, Query) for _, _, _, message in traffic.sent)


@pytest.mark.parametrize("problem", [None, "the disk is full"])
def test_put_that_waits_is_answered_by_the_way_of_its_query(
    network: MemoryNetwork, ways: Ways, problem: str | None
) -> None:
    journal = WaitingJournal()
    bare = Bare(network, journal=journal)
    ask(bare, ways, "token", krpc.encode_query(b"aa", b"get", {b"id": ID, b"target": b"t" * 20}))
    response = ways.sent.pop()[1]
    assert isinstance(response, Response)
    put = krpc.encode_query(b"pp", b"put", {b"id": ID, b"token": response.values[b"token"], b"v": b"value"})
    ask(bare, ways, "put", put)
    ask(bare, ways, "ping", QUERIES["ping"])
    assert [name for name, _ in ways.sent] == ["ping"]
    for done in journal.waiting:
        done(problem)
    name, answer = ways.sent[1]
    assert (name, answer.transaction_id) == ("put", b"pp")
    assert isinstance(answer, Error if problem else Response)


def test_answer_without_a_way_of_its_own_leaves_as_queries_do(network: MemoryNetwork) -> None:
    bare, traffic = Bare(network), Traffic(network)
    bare.protocol.datagramReceived(QUERIES["ping"], ASKER)
    assert any(isinstance(message, Response) for _, _, _, message in traffic.sent)


def test_put_that_is_durable_after_the_socket_was_closed_is_not_answered(network: MemoryNetwork, ways: Ways) -> None:
    journal = WaitingJournal()
    bare = Bare(network, journal=journal)
    ask(bare, ways, "token", krpc.encode_query(b"aa", b"get", {b"id": ID, b"target": b"t" * 20}))
    response = ways.sent.pop()[1]
    assert isinstance(response, Response)
    put = krpc.encode_query(b"pp", b"put", {b"id": ID, b"token": response.values[b"token"], b"v": b"value"})
    ask(bare, ways, "put", put)
    bare.port.stopListening()
    for done in journal.waiting:
        done(None)
    assert not ways.sent
    assert bare.protocol.counters.send_errors == 0


def test_error_about_a_query_goes_to_the_queries(network: MemoryNetwork) -> None:
    bare = Bare(network)
    bare.protocol.ping(ASKER).addErrback(lambda _: None)
    (pending,) = bare.protocol.queries.transactions._pending.values()
    bare.protocol.unreachable(ASKER, pending.transaction_id)
    network.clock.advance(0.01)
    assert bare.protocol.counters.slow == 1
