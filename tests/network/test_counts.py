"""Compares what grapes count with every datagram of an in-memory network, over calls of all kinds."""

from __future__ import annotations

import random
from collections import Counter

from grape.dht import messages as krpc
from grape.dht.compact import Address
from grape.dht.errors import RemoteProtocolError
from grape.dht.messages import Query, Response
from grape.testing import MemoryNetwork, make_grapes

SEED = 13
CALLS = 2_000
Counted = Counter[tuple[Address, str, str]]


class Tap:
    """Counts all messages by address, method and what happened, as ``tests.live.tap`` does."""

    def __init__(self, network: MemoryNetwork) -> None:
        self.counts: Counted = Counter()
        self._asked: dict[tuple[Address, Address, object], str] = {}
        network.sent = self._saw

    def _saw(self, source: Address, target: Address, datagram: bytes) -> None:
        try:
            message = krpc.decode(datagram)
        except RemoteProtocolError:
            return
        if isinstance(message, Query):
            name = message.method.decode()
            self._asked[source, target, message.transaction_id] = name
            self.counts[source, name, "sent"] += 1
            self.counts[target, name, "received"] += 1
            return
        name = self._asked.pop((target, source, message.transaction_id))
        is_response = isinstance(message, Response)
        self.counts[source, name, "responses" if is_response else "refusals"] += 1
        self.counts[target, name, "answered" if is_response else "errors"] += 1


def test_counters_equal_what_was_sent_on_the_network_after_calls_of_all_kinds() -> None:
    network = MemoryNetwork(SEED)
    tap = Tap(network)
    grapes = make_grapes(network, 4)
    network.clock.advance(20)
    dice, hashes = random.Random(SEED), ["00" * 20]
    names = [f"service:{index}" for index in range(100)]
    for index in range(CALLS):
        grape, kind = dice.choice(grapes), dice.random()
        if kind < 0.6:
            network.result(grape.lookup(dice.choice(names)))
        elif kind < 0.75:
            network.result(grape.announce(dice.choice(names), dice.randrange(1, 9)))
        elif kind < 0.8:
            network.result(grape.unannounce(dice.choice(names), dice.randrange(1, 9)))
        elif kind < 0.9:
            hashes.append(network.result(grape.put(f"words {index}")))
        elif kind < 0.95:
            network.result(grape.get(dice.choice(hashes), cache=False))
        else:
            protocol = grape.node._protocol
            assert protocol is not None
            query = protocol.query(("10.0.0.1", 20001), dice.choice((b"vote", b"get_peers")), {})
            network.result(query.addErrback(lambda _: None))
    network.clock.advance(3)
    for grape in grapes:
        address, counters = (grape.node._own_address.host or "", grape.dht_port), grape.node.counters
        assert address[0]
        seen = {name for at, name, _ in tap.counts if at == address}
        for name in seen - {"vote"}:
            sent = counters.sent[name.encode()]
            assert (sent.sent, sent.answered, sent.errors, sent.timed_out) == (
                tap.counts[address, name, "sent"],
                tap.counts[address, name, "answered"],
                tap.counts[address, name, "errors"],
                0,
            )
            assert getattr(counters.received, name) == tap.counts[address, name, "received"]
            assert getattr(counters.refusals, name) == tap.counts[address, name, "refusals"]
            assert getattr(counters.unanswered, name) == 0
        assert counters.queries_in == sum(tap.counts[address, name, "received"] for name in seen)
        assert counters.queries_out == sum(tap.counts[address, name, "sent"] for name in seen)
        assert counters.received.other == counters.refusals.other == tap.counts[address, "vote", "received"]
        assert counters.as_dict()["answered"] == sum(tap.counts[address, name, "answered"] for name in seen)
        assert counters.waiting_puts == 0
