"""Generates values, messages, datagrams and HTTP bodies with Hypothesis, valid and hostile, for all tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from grape.dht import bencoding
from grape.dht import messages as krpc
from grape.dht.bencoding import BValue
from grape.dht.compact import Address

VECTORS = Path(__file__).parent / "vectors" / "wire-vectors.json"
# The longest recorded datagram to mutate: the reference also sent some of up to 20,000 bytes.
MAX_MUTATED_BYTES = 1_500

METHODS = (b"ping", b"find_node", b"get_peers", b"announce_peer", b"unannounce_peer", b"get", b"put")
FIELDS = (
    b"a cas e id implied_port info_hash ip k made_ago nodes port q r ro salt seq sig t target token v values y age"
).split()


@lru_cache
def recorded_datagrams() -> tuple[bytes, ...]:
    """Returns the recorded datagrams of Node grapes and their clients, each once, sorted."""
    scenes: list[dict[str, Any]] = json.loads(VECTORS.read_text())
    return tuple(sorted({bytes.fromhex(packet["hex"]) for scene in scenes for packet in scene["packets"]}))


# Valid


def integers() -> SearchStrategy[int]:
    """Generates integers, the limits of machine words among them."""
    return st.integers(-(2**64), 2**64) | st.sampled_from([0, -1, 2**31, 2**63 - 1, 2**63, -(2**63), 2**64])


def bvalues(max_leaves: int = 12) -> SearchStrategy[BValue]:
    """Generates any value that can be bencoded."""
    return st.recursive(
        integers() | st.binary(max_size=40),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=8), inner, max_size=4),
        max_leaves=max_leaves,
    )


def node_ids() -> SearchStrategy[bytes]:
    """Generates node ids of 20 bytes; many share their first 18."""
    return st.binary(min_size=20, max_size=20) | st.binary(min_size=2, max_size=2).map(lambda tail: bytes(18) + tail)


def keys() -> SearchStrategy[bytes]:
    """Generates keys of any length that Grenache may send for a service's name."""
    return st.binary(min_size=1, max_size=64) | st.text(min_size=1, max_size=30).map(str.encode)


def addresses() -> SearchStrategy[Address]:
    """Generates IPv4 addresses with a port that is not 0."""
    return st.tuples(st.ip_addresses(v=4).map(str), st.integers(1, 65_535))


def distinct_contacts(max_size: int) -> SearchStrategy[list[tuple[bytes, Address]]]:
    """Generates lists of nodes with distinct ids and addresses."""
    return st.lists(node_ids(), unique=True, max_size=max_size).map(
        lambda ids: [(node_id, (f"10.0.{n >> 8}.{n & 255}", 20_001)) for n, node_id in enumerate(ids)]
    )


def queries() -> SearchStrategy[bytes]:
    """Generates datagrams of valid queries, apart from their tokens, which are random."""
    node_id, key = node_ids(), keys()
    arguments: dict[bytes, SearchStrategy[dict[bytes, Any]]] = {
        b"ping": st.fixed_dictionaries({b"id": node_id}),
        b"find_node": st.fixed_dictionaries({b"id": node_id, b"target": key}),
        b"get_peers": st.fixed_dictionaries({b"id": node_id, b"info_hash": key}),
        b"get": st.fixed_dictionaries({b"id": node_id, b"target": key}, optional={b"seq": integers()}),
        b"announce_peer": st.fixed_dictionaries(
            {b"id": node_id, b"info_hash": key, b"port": st.integers(1, 65_535), b"token": st.binary(max_size=20)},
            optional={b"implied_port": st.integers(0, 1), b"age": integers(), b"made_ago": integers()},
        ),
        b"unannounce_peer": st.fixed_dictionaries(
            {b"id": node_id, b"info_hash": key, b"port": st.integers(1, 65_535), b"token": st.binary(max_size=20)},
            optional={b"implied_port": st.integers(0, 1), b"age": integers()},
        ),
        b"put": st.fixed_dictionaries(
            {b"id": node_id, b"token": st.binary(max_size=20), b"v": bvalues()},
            optional={
                b"k": st.binary(min_size=32, max_size=32),
                b"sig": st.binary(min_size=64, max_size=64),
                b"seq": integers(),
                b"salt": st.binary(max_size=64),
                b"cas": integers(),
            },
        ),
    }
    return st.sampled_from(METHODS).flatmap(
        lambda method: st.builds(
            krpc.encode_query,
            st.binary(min_size=1, max_size=4),
            st.just(method),
            arguments[method],
            read_only=st.booleans(),
        )
    )


# Hostile


def hostile_datagrams() -> SearchStrategy[bytes]:
    """Generates an attacker's datagrams: noise, mutated real ones, messages of wrong types, and bombs."""
    return st.one_of(st.binary(max_size=200), mutated_datagrams(), confused_messages(), queries(), bombs())


@st.composite
def mutated_datagrams(draw: st.DrawFn) -> bytes:
    """Generates real datagrams after a few cuts, repetitions, insertions and changed bytes."""
    real = st.sampled_from([datagram for datagram in recorded_datagrams() if len(datagram) <= MAX_MUTATED_BYTES])
    data = bytearray(draw(real | queries()))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 12)))
        data[at:end] = draw(
            st.one_of(
                st.binary(max_size=4),
                st.just(b""),
                st.just(bytes(data[at:end]) * 2),
                st.sampled_from([b"i", b"e", b"d", b"l", b":", b"-", b"+", b"0", b"99999:", b"i-1e", b"de", b"le"]),
            )
        )
    return bytes(data)


@st.composite
def confused_messages(draw: st.DrawFn) -> bytes:
    """Generates messages whose fields have valid names and any values: strings for numbers, lists for dictionaries."""
    values = draw(st.dictionaries(st.sampled_from(FIELDS), bvalues(6), max_size=8))
    message: dict[bytes, BValue] = {
        b"t": draw(st.binary(max_size=8) | bvalues(4)),
        b"y": draw(st.sampled_from([b"q", b"r", b"e", b"x", b""]) | bvalues(2)),
        b"q": draw(st.sampled_from(METHODS) | bvalues(2)),
        b"a": draw(st.just(values) | bvalues(4)),
        b"r": draw(st.just(values) | bvalues(4)),
        b"e": draw(bvalues(4)),
    }
    if isinstance(message[b"a"], dict):
        message[b"a"] = {b"id": draw(node_ids() | bvalues(2)), **message[b"a"]}
    for field in draw(st.sets(st.sampled_from(sorted(message)), max_size=3)):
        del message[field]
    return bencoding.encode(message)


def bombs() -> SearchStrategy[bytes]:
    """Generates depths, integers and lengths that exhaust a careless decoder, alone and inside a query."""
    size = st.sampled_from([1, 10, 31, 32, 33, 100, 511, 512, 513, 1_000, 5_000, 20_000])
    makers: list[Callable[[int], bytes]] = [
        lambda n: b"l" * n,
        lambda n: b"l" * n + b"e" * n,
        lambda n: b"d1:a" * n + b"i1e" + b"e" * n,
        lambda n: b"i" + b"9" * n + b"e",
        lambda n: b"i-" + b"1" * n + b"e",
        lambda n: b"i" + b"0" * n + b"e",
        lambda n: b"9" * n + b":",
        lambda n: b"%d:a" % 10 ** min(n, 4_000),
        lambda n: b"%d:" % n + b"a" * n,
        lambda n: b"l" + b"0:" * n + b"e",
        lambda n: b"d" + b"1:ai1e" * n + b"e",
    ]
    frames = [
        b"%b",
        b"d1:a%b1:q4:ping1:t2:aa1:y1:qe",
        b"d1:ad2:id20:abcdefghij01234567896:target%be1:q9:find_node1:t2:aa1:y1:qe",
        b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t%b1:y1:qe",
        b"d1:ad2:id20:abcdefghij01234567895:token2:aa1:v%be1:q3:put1:t2:aa1:y1:qe",
        b"d1:rd2:id20:abcdefghij01234567895:nodes%be1:t2:aa1:y1:re",
        b"d1:t2:aa1:y1:q1:q4:ping1:a%be",
    ]
    return st.builds(
        lambda frame, maker, n: frame % maker(n), st.sampled_from(frames), st.sampled_from(makers), size
    ).filter(lambda datagram: len(datagram) <= 65_000)


def json_values() -> SearchStrategy[Any]:
    """Generates any JSON value."""
    return st.recursive(
        st.none() | st.booleans() | integers() | st.floats() | st.text(max_size=40),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=12,
    )


def nearly_right_data() -> SearchStrategy[Any]:
    """Generates the calls' data with a wrong field or two: limits, lone surrogates, keys that are no curve points."""
    odd = st.sampled_from(
        ["\ud800", "a\udfff", "", "0" * 40, "f" * 64, "[1,2]", '"ab"', 2**63, -(2**63), 1e300, 1.5, []]
    )
    value = json_values() | odd
    octets = st.lists(st.integers(0, 255), max_size=70)
    buffers = octets | octets.map(lambda data: {"type": "Buffer", "data": data})
    item = st.fixed_dictionaries(
        {"v": value | st.text(min_size=990, max_size=1_010)},
        optional={
            "k": st.binary(min_size=32, max_size=32).map(bytes.hex) | buffers | value,
            "sig": st.binary(min_size=64, max_size=64).map(bytes.hex) | buffers | value,
            "seq": integers() | value,
            "cas": integers() | value,
            "salt": st.text(max_size=70) | buffers | value,
        },
    )
    question = st.fixed_dictionaries(
        {"hash": st.binary(min_size=20, max_size=20).map(bytes.hex) | value},
        optional={"salt": st.text(max_size=70) | buffers | value, "cache": st.booleans() | value},
    )
    announce = st.tuples(st.text(max_size=40) | buffers | value, st.integers(-1, 65_536) | value).map(list)
    return st.one_of(odd, item, question, announce)


@st.composite
def hostile_bodies(draw: st.DrawFn) -> bytes:
    """Generates HTTP bodies: wrong types in the calls' fields, broken JSON, bad UTF-8, depth bombs, noise."""
    fields = st.sampled_from(["v", "k", "sig", "seq", "salt", "cas", "hash", "cache", "0", "type", "data", "__proto__"])
    data = st.one_of(
        nearly_right_data(),
        json_values(),
        st.dictionaries(fields, json_values(), max_size=5),
        st.lists(json_values(), max_size=4),
    )
    body = json.dumps({"rid": draw(st.text(max_size=5)), "data": draw(data)}).encode()
    n = draw(st.sampled_from([1, 100, 1_000, 5_000, 50_000]))
    at = draw(st.integers(0, len(body)))
    bodies: SearchStrategy[bytes] = st.one_of(
        st.just(body),
        st.just(body[:at]),
        st.binary(max_size=8).map(lambda noise: body[:at] + noise + body[at:]),
        st.binary(max_size=100),
        json_values().map(lambda value: json.dumps(value).encode()),
        st.sampled_from(
            [
                b"[" * n,
                b"[" * n + b"]" * n,
                b'{"data":' * n + b"1" + b"}" * n,
                b'{"data":' + b"9" * n + b"}",
                b'{"data":["' + b"a" * n + b'",1]}',
                b'{"data":"\xff\xfe"}',
                b'{"data":"\\ud800"}',
                b"\xef\xbb\xbf{}",
            ]
        ),
    )
    return draw(bodies)
