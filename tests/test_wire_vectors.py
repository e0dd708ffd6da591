"""Replays every datagram recorded of the Node grape, and compares what ours sends and answers with it.

Where ours differ on purpose (docs/wire.md) a row says what is expected instead, and why.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred

from grape import Grape
from grape.testing import MemoryNetwork
from tests.simulation import outcome
from tests.wire_vectors import (
    CLIENT,
    ID_A,
    ID_B,
    A,
    B,
    C,
    Client,
    Members,
    Vector,
    decode,
    fresh,
    load,
    members,
    of,
    start,
)

VECTORS = load()
NAMES = {A: "A", B: "B", C: "C", CLIENT: "client"}

Packets = list[tuple[str, str, Members]]


def error(code: int, text: str) -> list[Members]:
    return [{b"e": [code, text.encode()], b"y": b"e"}]


def response(node_id: bytes, **values: Any) -> list[Members]:
    return [{b"r": {b"id": node_id, **{name.encode(): value for name, value in values.items()}}, b"y": b"r"}]


def missing(method: str, field: str) -> list[Members]:
    return error(203, f"`{method}` missing required `a.{field}` field")


# What grapes send


def put(name: str, **keywords: Any) -> Callable[[Grape], Deferred[Any]]:
    """Puts the item of the vector's put query."""
    arguments = next(
        message[b"a"]
        for message in (decode(packet.datagram) for packet in VECTORS[f"put/{name}"].packets)
        if message.get(b"q") == b"put"
    )
    given: dict[str, Any] = {
        ours: arguments[theirs]
        for ours, theirs in (("key", b"k"), ("signature", b"sig"), ("seq", b"seq"), ("salt", b"salt"), ("cas", b"cas"))
        if theirs in arguments
    }
    value = arguments[b"v"]
    if isinstance(value, dict):
        value = {"b": 1, "a": "x"}
    elif isinstance(value, bytes):
        value = value.decode()
    return lambda grape: grape.put(value, **given, **keywords)


def announce(name: str, port: int = 2000) -> Callable[[Grape], Deferred[Any]]:
    return lambda grape: grape.announce(name, port)


def get(vector: str, salt: bytes = b"", **keywords: Any) -> Callable[[Grape], Deferred[Any]]:
    target = decode(VECTORS[vector].asked)[b"a"][b"target"].hex()
    return lambda grape: grape.get(target, salt, **keywords)


# In this order: the later ones find what the earlier ones stored.
TRIGGERS: dict[str, Callable[[Grape], Deferred[Any]]] = {
    "announce/rest:util:net": announce("rest:util:net", 1337),
    "announce/again-with-cached-table": announce("rest:util:net", 1338),
    "lookup/hit": lambda grape: grape.lookup("rest:util:net"),
    "lookup/on-the-storing-grape": lambda grape: grape.lookup("rest:util:net"),
    "lookup/miss": lambda grape: grape.lookup("no:such:service"),
    "announce/name-1-byte": announce("q"),
    "announce/name-20-byte": announce("abcdefghijklmnopqrst"),
    "announce/name-21-byte": announce("abcdefghijklmnopqrstu"),
    "announce/name-40-byte-hex-looking": announce("0123456789abcdef0123456789abcdef01234567"),
    "announce/name-200-byte": announce("z" * 200),
    "announce/name-utf8": announce("svc:é日😀"),
    "announce/name-empty": announce(""),
    "announce/port-0": announce("svc-p0", 0),
    "announce/negative-port": announce("svc-neg", -5),
    "announce/port-70000": announce("svc-big", 70_000),
    "put/immutable": put("immutable"),
    "get/immutable-from-network": get("get/immutable-from-network", cache=False),
    "get/unknown": get("get/unknown"),
    "put/immutable-int": put("immutable-int"),
    "put/immutable-dict": put("immutable-dict"),
    "put/immutable-zero": put("immutable-zero"),
    "put/immutable-too-big": put("immutable-too-big"),
    "put/mutable": put("mutable"),
    "put/mutable-same-seq": put("mutable-same-seq"),
    "put/mutable-cas-mismatch": put("mutable-cas-mismatch"),
    "put/mutable-cas-ok": put("mutable-cas-ok"),
    "get/mutable": get("get/mutable"),
    "put/mutable-salt": put("mutable-salt"),
    "get/mutable-salt": get("get/mutable-salt", b"mysalt"),
    "put/mutable-bad-signature": put("mutable-bad-signature"),
}

taken = ("B", "A", response(ID_B)[0])

SENT_OTHERWISE: dict[str, tuple[Callable[[Packets], Packets], str]] = {
    "announce/name-empty": (lambda recorded: [], "refused at once: ERR_GRAPE_ANNOUNCE"),
    "announce/negative-port": (lambda recorded: [], "refused at once: ERR_GRAPE_SERVICE_PORT"),
    "announce/port-70000": (lambda recorded: [], "refused at once: ERR_GRAPE_SERVICE_PORT"),
    "put/immutable-zero": (lambda recorded: [*recorded, taken], "0 is a value like any other"),
    "put/immutable-too-big": (lambda recorded: [], "refused at once: bytes are counted, not characters"),
    "put/mutable-same-seq": (lambda recorded: [recorded[0], taken], "the same seq and value refreshes (BEP 44)"),
    "put/mutable-bad-signature": (lambda recorded: [], "refused at once: every node would refuse it"),
}


def without_housekeeping(said: list[tuple[str, str, bytes]]) -> list[tuple[str, str, bytes]]:
    """Leaves out liveness checks and joining, which go on beside the calls."""
    own = {decode(datagram)[b"t"] for _, _, datagram in said if decode(datagram).get(b"q") in (b"ping", b"find_node")}
    return [packet for packet in said if decode(packet[2])[b"t"] not in own]


@attrs.define
class Stage:
    """The two grapes of the recordings, the datagrams between them for each vector, and the client."""

    network: MemoryNetwork
    client: Client
    said: dict[str, list[tuple[str, str, bytes]]]
    answered: dict[str, list[bytes]]
    grapes: list[Grape]


@cache
def stage() -> Stage:
    network = MemoryNetwork(seed=1)
    said: dict[str, list[tuple[str, str, bytes]]] = {}

    def record(name: str) -> None:
        packets = said[name] = []
        network.sent = lambda source, destination, datagram: packets.append(
            (NAMES[source], NAMES[destination], datagram)
        )

    record("bootstrap/first-node-alone")
    b = start(network, B, ID_B, dht_bootstrap=["127.0.0.1:21301"])
    network.clock.advance(0.3)
    a = start(network, A, ID_A, dht_bootstrap=["127.0.0.1:21302"])
    network.result(a.when_ready())
    network.result(b.when_ready())
    network.clock.advance(0.1)
    for name, trigger in TRIGGERS.items():
        record(name)
        result = outcome(trigger(b if name == "lookup/on-the-storing-grape" else a))
        network.clock.advance(0.1)
        assert result, name
    client = Client(network, CLIENT)
    record("client")
    c = start(network, C)
    tokens = {B: client.token(B), C: client.token(C)}
    answered: dict[str, list[bytes]] = {}
    for vector in of("client"):
        at = C if vector.packets[0].destination == "C" else B
        answered[vector.name] = client.exchange(fresh(vector.asked, tokens[at]), at)
    return Stage(network, client, said, answered, [a, b, c])


@pytest.mark.parametrize("name", TRIGGERS)
def test_grape_sends_and_answers_what_the_reference_did(name: str) -> None:
    recorded = [(p.source, p.destination, members(p.datagram)) for p in VECTORS[name].packets]
    said = without_housekeeping(stage().said[name])
    expected = SENT_OTHERWISE[name][0](recorded) if name in SENT_OTHERWISE else recorded
    assert [(source, destination, members(datagram)) for source, destination, datagram in said] == expected
    asked = [decode(datagram)[b"t"] for _, _, datagram in said if decode(datagram)[b"y"] == b"q"]
    assert [decode(datagram)[b"t"] for _, _, datagram in said if decode(datagram)[b"y"] != b"q"] == asked


def test_bootstrapping_grapes_ask_for_their_own_ids() -> None:
    recorded = [(p.source, p.destination, members(p.datagram)) for p in VECTORS["bootstrap/first-node-alone"].packets]
    said = [(s, d, members(datagram)) for s, d, datagram in stage().said["bootstrap/first-node-alone"]]
    assert said[0] == recorded[0]
    # Ours sends a query once more if the answer is slow; the reference waits for its timeout.
    assert next(packet for packet in said if packet[0] == "A" and b"q" in packet[2]) == recorded[1]
    # Unlike the reference, ours does not list a querier before it has answered: it pings it at once.
    answers = [packet for packet in said if packet[:2] == ("B", "A") and packet[2][b"y"] == b"r"]
    assert answers[0][2] == response(ID_B, nodes=b"")[0]
    assert ("B", "A", {b"a": {b"id": ID_B}, b"q": b"ping", b"y": b"q"}) in said


def test_port_0_of_a_grape_without_a_configured_port_is_the_one_that_others_see() -> None:
    network = MemoryNetwork(seed=2)
    vector = VECTORS["announce/implied_port-1"]
    a = start(network, A)
    grape = start(network, ("127.0.0.1", 0), decode(vector.asked)[b"a"][b"id"], dht_bootstrap=["127.0.0.1:21301"])
    network.result(grape.when_ready())
    network.clock.advance(0.1)
    said: list[Members] = []
    network.sent = lambda source, destination, datagram: said.append(members(datagram)) if source != A else None
    assert network.result(grape.announce("svc-implied", 0)) == 1
    recorded = [members(packet.datagram) for packet in vector.packets if packet.destination == "A"]
    assert said[1][b"a"] == recorded[2][b"a"]
    assert said[0] == recorded[1]
    assert len(said) == 2
    assert network.result(a.lookup("svc-implied")) == [f"127.0.0.1:{grape.dht_port}"]


# What a grape answers

ANSWERED_OTHERWISE: dict[str, tuple[list[Members], str]] = {
    "client/ping-no-a": (error(203, "missing required `a` field"), "malformed: 203, not silence"),
    "client/unknown-method": (error(204, "method unknown"), "204, not silence"),
    "client/announce_peer-no-token": (missing("announce_peer", "token"), "malformed: 203, not silence"),
    "client/announce_peer-port-0": (missing("announce_peer", "port"), "malformed: 203, not silence"),
    "client/announce_peer-port-65536": (missing("announce_peer", "port"), "malformed: 203, not silence"),
    "client/get-no-target": (missing("get", "target"), "malformed: 203, not silence"),
    "client/put-no-id": (missing("put", "id"), "malformed: 203, not silence"),
    "client/put-mutable-bad-sig": (error(206, "invalid signature"), "206, not silence"),
    "client/put-salt-65-bytes": (error(207, "salt is too big"), "207: BEP 44 allows 64 bytes"),
    "client/read-only-node-listed": (
        response(ID_B, nodes=ID_A + b"\x7f\0\0\1\x53\x35"),
        "a read-only querier is not listed",
    ),
}


@pytest.mark.parametrize("vector", of("client"), ids=str)
def test_client_gets_the_answer_that_the_reference_gave(vector: Vector) -> None:
    answers = stage().answered[vector.name]
    if vector.name == "client/put-mutable-to-grape-without-verify":
        # Ours always verifies signatures: it accepts the item.
        (answer,) = answers
        assert decode(answer)[b"r"] == {b"id": bytes.fromhex(stage().grapes[2].stats().node_id)}
        return
    expected = ANSWERED_OTHERWISE[vector.name][0] if vector.name in ANSWERED_OTHERWISE else vector.answers
    assert [members(answer) for answer in answers] == expected
    for answer in answers:
        message = decode(answer)
        assert message.get(b"t") == decode(vector.asked).get(b"t")
        assert message[b"v"].startswith(b"GP")
        assert message.get(b"ip", b"\x7f\0\0\1\x53\x66") == b"\x7f\0\0\1\x53\x66"


@pytest.mark.parametrize("name", ["client/get_peers-hit", "client/get-hit", "client/get-mutable"])
def test_nodes_stand_beside_values_and_items(name: str) -> None:
    assert decode(stage().answered[name][0])[b"r"][b"nodes"] == ID_A + b"\x7f\0\0\1\x53\x35"


def test_deviations_all_belong_to_a_recording() -> None:
    assert set(SENT_OTHERWISE) <= set(TRIGGERS) <= set(VECTORS)
    assert set(ANSWERED_OTHERWISE) <= set(VECTORS)
    replayed = {vector.name for vector in of("client", "malformed", "libtorrent", "ping", "bootstrap")}
    replayed.add("announce/implied_port-1")
    assert set(TRIGGERS) | replayed == set(VECTORS)


def test_replay_causes_no_faults() -> None:
    assert [grape.stats().counters["faults"] for grape in stage().grapes] == [0, 0, 0]
