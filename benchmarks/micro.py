"""Times the pure core and the stores call by call, without sockets and processes: ``python -m benchmarks.micro``.

Takes about ten seconds. The figures show what became slower on one machine; they do not compare across machines.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence
from itertools import cycle

import attrs

from grape.dht import items as bep44
from grape.dht import messages as krpc
from grape.dht.bencoding import BValue
from grape.dht.compact import Address
from grape.dht.lookup import Lookup
from grape.dht.messages import Query
from grape.dht.nodeid import position
from grape.dht.responder import Responder
from grape.dht.routing import RoutingTable
from grape.dht.tokens import Tokens
from grape.store import MemoryItems, MemoryPeers

CONTACTS = 200
KEYS = 1_000
NODES = 60
HOSTS = 10_000
HOLDERS = 20
REPEATS = 5
SECONDS = 9.0
ASKER = ("127.0.0.1", 4_321)

Work = Callable[[], object]


@attrs.frozen
class Timing:
    """Microseconds of one call: the median and the best of several measurements."""

    name: str
    median: float
    best: float


def timed(name: str, work: Work, seconds: float) -> Timing:
    """Times a piece of work by calling it for about ``seconds``."""
    calls, took = 1, 0.0
    part = seconds / (REPEATS + 1)
    while took < part / 2:
        calls = max(calls * 2, int(calls * part / took)) if took > part / 100 else calls * 4
        took = _took(work, calls)
    values = sorted(_took(work, calls) / calls * 1e6 for _ in range(REPEATS))
    return Timing(name, values[REPEATS // 2], values[0])


def _took(work: Work, calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        work()
    return time.perf_counter() - began


def table(timings: Sequence[Timing]) -> str:
    """Returns a text table with a line for each timing."""
    width = max(len(timing.name) for timing in timings)
    lines = [f"{'':<{width}}  {'us':>8}  {'best':>8}  {'calls/s':>10}"]
    lines += [f"{t.name:<{width}}  {t.median:8.2f}  {t.best:8.2f}  {1e6 / t.median:10,.0f}" for t in timings]
    return "\n".join(lines) + "\n"


class Node:
    """A responder and what it answers from: 200 contacts, 1,000 keys and 1,000 items."""

    def __init__(self) -> None:
        self.dice = dice = random.Random(1)
        self.table = RoutingTable(dice.randbytes(20))
        self.tokens = Tokens(dice.randbytes, 0.0)
        self.peers = MemoryPeers(240.0)
        self.items = MemoryItems()
        self.responder = Responder(self.table, self.tokens, self.peers, self.items, dice.sample, lambda key, peer: None)
        own = position(self.table.own_id)
        for n in range(CONTACTS):
            # Twenty share no leading bit with our id, twenty share one, and so on: every bucket has space for its own.
            low = 159 - n // 20
            node_id = ((own >> low ^ 1) << low | dice.getrandbits(low)).to_bytes(20, "big")
            self.table.heard(node_id, ("127.0.0.1", 20_001 + n), 0.0)
        assert len(self.table) == CONTACTS
        self.keys = [b"bench:micro:%d" % n for n in range(KEYS)]
        for key in self.keys:
            self.peers.announce(key, ASKER, 0.0)
        items = [bep44.immutable(b"item %d " % n + b"." * 90) for n in range(KEYS)]
        for item in items:
            self.items.put(item)
        self.targets = [item.target for item in items]
        self.random_targets = [dice.randbytes(20) for _ in range(KEYS)]


def _ask(node: Node, method: bytes, name: bytes, targets: Sequence[bytes]) -> Work:
    """Answers a query, for another target each time."""
    each: list[dict[bytes, BValue]] = [{b"id": b"i" * 20, name: target} for target in targets]
    queries = cycle([Query(method, arguments, b"aa") for arguments in each])
    answer = node.responder.answer
    assert answer(next(queries), ASKER, 0.0)
    return lambda: answer(next(queries), ASKER, 0.0)


def _whole(node: Node, method: bytes, name: bytes, targets: Sequence[bytes]) -> Work:
    """Decodes a query and answers it."""
    datagrams = cycle([krpc.encode_query(b"aa", method, {b"id": b"i" * 20, name: target}) for target in targets])
    answer = node.responder.answer

    def work() -> None:
        query = krpc.decode(next(datagrams))
        assert isinstance(query, Query)
        answer(query, ASKER, 0.0)

    return work


def _closest(node: Node) -> Work:
    """Finds the 20 contacts closest to a random position."""
    places = cycle([position(target) for target in node.random_targets])
    closest = node.table.closest
    return lambda: closest(next(places))


def _lookup(number: int) -> Work:
    """Runs a whole lookup in a network whose nodes know all others and answer at once."""
    dice = random.Random(2)
    nodes: list[tuple[bytes, Address]] = [(dice.randbytes(20), ("127.0.0.1", 20_001 + n)) for n in range(number)]

    def work() -> None:
        lookup = Lookup(b"bench:micro", b"o" * 20)
        for node_id, address in nodes[:20]:
            lookup.add(node_id, address)
        while asked := lookup.ask():
            for candidate in asked:
                lookup.heard(candidate, candidate.node_id, b"token")
                for node_id, address in nodes[:20]:
                    lookup.add(node_id, address)
            for node_id, address in nodes:
                lookup.add(node_id, address)
        assert lookup.finished
        lookup.found()

    return work


def _host(number: int) -> str:
    return f"10.0.{number >> 8}.{number & 255}"


def _announce_when_full() -> Work:
    """Announces a new key from a new host to a store that is full of one key each of 10,000 hosts."""
    store = MemoryPeers(0, max_keys=HOSTS)
    calls = cycle([(b"key %d" % n, (_host(n), 1)) for n in range(2 * HOSTS)])

    def work() -> None:
        key, peer = next(calls)
        store.announce(key, peer, 0.0)

    for _ in range(HOSTS):
        work()
    return work


def _put_when_full() -> Work:
    """Puts a new item from a new host into a store that is full of one item each of 10,000 hosts."""
    store = MemoryItems(max_items=HOSTS)
    calls = cycle([(bep44.immutable(n), _host(n)) for n in range(2 * HOSTS)])

    def work() -> None:
        store.put(*next(calls))

    for _ in range(HOSTS):
        work()
    return work


def _write_from_frame() -> Work:
    """Encodes an announce to 20 holders as it is done: one frame, in which each gets its token."""
    tokens = [bytes([n]) * 8 for n in range(HOLDERS)]

    def work() -> None:
        write = krpc.encode_write(b"announce_peer", {b"id": b"i" * 20, b"info_hash": b"bench:micro", b"port": 1_337})
        for token in tokens:
            head, tail = krpc.with_token(write, token)
            assert head + b"aa" + tail

    return work


def _write_whole() -> Work:
    """Encodes the same datagrams one by one."""
    tokens = [bytes([n]) * 8 for n in range(HOLDERS)]
    arguments: dict[bytes, BValue] = {b"id": b"i" * 20, b"info_hash": b"bench:micro", b"port": 1_337}

    def work() -> None:
        for token in tokens:
            assert krpc.encode_query(b"aa", b"announce_peer", {**arguments, b"token": token})

    return work


def pieces() -> list[tuple[str, Work]]:
    """Returns what is timed: names and calls."""
    node = Node()
    query = krpc.encode_query(b"aa", b"get_peers", {b"id": b"i" * 20, b"info_hash": node.keys[0]})
    answer = node.responder.answer(Query(b"get_peers", {b"id": b"i" * 20, b"info_hash": node.keys[0]}, b"aa"), ASKER, 0)
    assert answer is not None
    message = krpc.decode(answer)
    assert isinstance(message, krpc.Response)
    values, hosts = message.values, cycle([f"10.0.{n >> 8}.{n & 255}" for n in range(2_000)])
    token = node.tokens.issue(ASKER[0], 0.0)
    return [
        ("krpc: decode a query", lambda: krpc.decode(query)),
        ("krpc: decode a response of 20 contacts", lambda: krpc.decode(answer)),
        (
            "krpc: encode a query",
            lambda: krpc.encode_query(b"aa", b"get_peers", {b"id": b"i" * 20, b"info_hash": b"k"}),
        ),
        (
            "krpc: encode a response of 20 contacts",
            lambda: krpc.encode_response(b"aa", dict(values), b"\x7f\0\0\x01\x10\0"),
        ),
        (f"krpc: encode an announce to {HOLDERS} holders, from a frame", _write_from_frame()),
        (f"krpc: encode an announce to {HOLDERS} holders, each whole", _write_whole()),
        ("routing: the 20 closest of 200", _closest(node)),
        ("responder: ping", _ask(node, b"ping", b"x", [b""])),
        ("responder: find_node", _ask(node, b"find_node", b"target", node.random_targets)),
        ("responder: get_peers, 1,000 keys", _ask(node, b"get_peers", b"info_hash", node.keys)),
        ("responder: get, 1,000 items", _ask(node, b"get", b"target", node.targets)),
        ("decode and answer: ping", _whole(node, b"ping", b"x", [b""])),
        ("decode and answer: get_peers", _whole(node, b"get_peers", b"info_hash", node.keys)),
        ("lookup: 2 nodes", _lookup(2)),
        (f"lookup: {NODES} nodes", _lookup(NODES)),
        (f"store: an announce at max_keys from {HOSTS:,} hosts", _announce_when_full()),
        (f"store: an item put at max_values from {HOSTS:,} hosts", _put_when_full()),
        ("tokens: issue, 2,000 hosts", lambda: node.tokens.issue(next(hosts), 0.0)),
        ("tokens: accept", lambda: node.tokens.accepts(token, ASKER[0], 0.0)),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.micro", description="Times the pure core and the stores."
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, metavar="S", help=f"seconds in all ({SECONDS:g})")
    options = parser.parse_args(arguments)
    if not options.seconds > 0:
        parser.error("--seconds takes a number above 0")
    todo = pieces()
    sys.stdout.write(table([timed(name, work, options.seconds / len(todo)) for name, work in todo]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
