"""Hostile datagrams: none raises or logs anything, and none is answered with much more than its own size.

That nothing is logged is checked for every test by conftest.py.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grape import Grape
from grape.dht import bencoding
from grape.dht import messages as krpc
from grape.dht.compact import Address
from grape.dht.errors import RemoteProtocolError
from grape.dht.items import immutable
from grape.testing import MemoryNetwork, make_grapes
from tests import strategies

TARGET = ("10.0.0.1", 20_001)
MEMBER = ("10.0.0.2", 20_001)
STRANGER = ("10.0.9.9", 6_881)
MAX_DATAGRAM_BYTES = 1_400
MAX_AMPLIFICATION = 15
# Queries without an id are answered, too, and are that much shorter: the last test holds them to the usual limit.
MAX_AMPLIFICATION_WITHOUT_ID = 25
PING = b"d1:ad2:id20:abcdefghij01234567892:roi1ee1:q4:ping1:t2:zz1:y1:qe"


class Ring:
    """A ring whose first grape is under attack; it has ``size - 1`` contacts and stores peers."""

    def __init__(self, size: int = 3) -> None:
        self.network = MemoryNetwork(seed=1)
        self.grapes = make_grapes(self.network, size)
        for n in range(1, 200):
            self.network.result(self.grapes[0].announce("rest:util:net", n))
        self.sent: list[tuple[Address, bytes]] = []
        self.network.sent = self._saw

    @property
    def grape(self) -> Grape:
        return self.grapes[0]

    def deliver(self, datagram: bytes, source: Address) -> list[tuple[Address, bytes]]:
        """Delivers a datagram and returns what the grape sends at once."""
        self.sent.clear()
        self.network.ports[TARGET].received(datagram, source)
        return list(self.sent)

    def faults(self) -> int:
        return self.grape.stats().counters["faults"]

    def answers_pings(self, source: Address) -> bool:
        answers = [datagram for address, datagram in self.deliver(PING, source) if address == source]
        return any(isinstance(krpc.decode(answer), krpc.Response) for answer in answers)

    def _saw(self, source: Address, destination: Address, datagram: bytes) -> None:
        if source == TARGET:
            self.sent.append((destination, datagram))


@pytest.fixture(scope="module")
def ring() -> Ring:
    return Ring()


def amplification_limit(datagram: bytes) -> int:
    try:
        message = krpc.decode(datagram)
    except RemoteProtocolError:
        return MAX_AMPLIFICATION
    has_id = not isinstance(message, krpc.Query) or isinstance(message.arguments.get(b"id"), bytes)
    return MAX_AMPLIFICATION if has_id else MAX_AMPLIFICATION_WITHOUT_ID


def held_to_the_rules(ring: Ring, datagram: bytes, source: Address, limit: int | None = None) -> None:
    for _, sent in ring.deliver(datagram, source):
        assert len(sent) <= MAX_DATAGRAM_BYTES
    answered = sum(len(sent) for address, sent in ring.sent if address == source)
    assert answered <= (limit or amplification_limit(datagram)) * len(datagram)
    assert ring.faults() == 0
    assert ring.answers_pings(source)
    # The queries that it sends in turn time out without a fault.
    ring.network.clock.advance(0.01)
    assert ring.faults() == 0


sources = st.sampled_from([STRANGER, MEMBER, TARGET, ("255.255.255.255", 1), ("0.0.0.0", 0), ("127.0.0.1", 65_535)])
each_datagram = pytest.mark.parametrize("datagram", strategies.recorded_datagrams(), ids=lambda d: d[:12].hex())


@settings(derandomize=True, max_examples=400, deadline=None)
@given(datagram=strategies.hostile_datagrams(), source=sources)
def test_hostile_datagrams_do_no_harm(ring: Ring, datagram: bytes, source: Address) -> None:
    held_to_the_rules(ring, datagram, source)


@each_datagram
def test_recorded_datagrams_do_no_harm(ring: Ring, datagram: bytes) -> None:
    held_to_the_rules(ring, datagram, STRANGER)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(values=st.dictionaries(st.sampled_from(strategies.FIELDS), strategies.bvalues(6)), kind=st.sampled_from("re"))
def test_hostile_answers_to_own_queries_do_no_harm(
    ring: Ring, values: dict[bytes, bencoding.BValue], kind: str
) -> None:
    ring.sent.clear()
    ring.grape.lookup("somewhere").addErrback(lambda _: None)
    for address, asked in list(ring.sent):
        query = krpc.decode(asked)
        message: dict[bytes, bencoding.BValue] = {b"y": kind.encode(), b"r": values, b"e": list(values.values())}
        assert isinstance(query.transaction_id, bytes)
        message[b"t"] = query.transaction_id
        held_to_the_rules(ring, bencoding.encode(message), address)
    ring.network.clock.advance(3)
    assert ring.faults() == 0


def cut_short(datagram: bytes, dice: random.Random) -> bytes:
    return datagram[: dice.randrange(len(datagram))]


def one_byte_changed(datagram: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(datagram))
    return datagram[:at] + dice.randbytes(1) + datagram[at + 1 :]


@pytest.mark.parametrize("change", [cut_short, one_byte_changed])
def test_damaged_datagrams_do_no_harm(ring: Ring, change: Callable[[bytes, random.Random], bytes]) -> None:
    dice = random.Random(1)
    for datagram in filter(None, strategies.recorded_datagrams()):
        for _ in range(5):
            held_to_the_rules(ring, change(datagram, dice), dice.choice([STRANGER, MEMBER]))


@pytest.fixture(scope="module")
def full_ring() -> Ring:
    """A ring whose first grape gives the largest answers that it can."""
    ring = Ring(25)
    for n in range(200):
        for name in ("rest:util:net", "x"):
            ring.network.result(ring.grapes[1 + n % 24].announce(name, n + 1))
    # Several: the first of 25 nodes is among the 20 closest of only some.
    for n in range(20):
        ring.network.result(ring.grapes[1].put(f"{n:03}" * 333))
    return ring


def shortest_queries(node_id: bytes) -> Iterator[bytes]:
    """Queries without any member that can be left out."""
    items = [immutable(b"%03d" % n * 333).target for n in range(20)]
    keys = [b"rest:util:net", b"x", b"y", b"k" * 20, *items]
    for method, field in ((b"find_node", b"target"), (b"get_peers", b"info_hash"), (b"get", b"target")):
        for key in keys:
            arguments = b"d%b%be" % (node_id, bencoding.encode(field) + bencoding.encode(key))
            yield b"d1:a%b1:q%b1:t0:1:y1:qe" % (arguments, bencoding.encode(method))


def test_full_table_and_full_store_are_no_amplifier(full_ring: Ring) -> None:
    for query in shortest_queries(b"2:id20:abcdefghij0123456789"):
        held_to_the_rules(full_ring, query, STRANGER)


def test_query_without_an_id_is_no_amplifier(full_ring: Ring) -> None:
    for query in shortest_queries(b""):
        held_to_the_rules(full_ring, query, STRANGER, MAX_AMPLIFICATION)
