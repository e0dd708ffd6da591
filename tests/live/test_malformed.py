"""Sends a grape malformed datagrams: it goes on to answer pings, and logs nothing."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest
from bencode2 import bencode

from tests.live.conftest import StartGrape
from tests.live.krpc import Peer

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "wire-vectors.json").read_text())
MALFORMED = {
    vector["name"].removeprefix("malformed/"): bytes.fromhex(vector["packets"][0]["hex"])
    for vector in VECTORS
    if vector["name"].startswith("malformed/")
}
# Valid queries and responses, which are then damaged.
RECORDED = [
    bytes.fromhex(p["hex"]) for v in VECTORS if v["name"].startswith("client/") for p in v["packets"] if p["hex"]
]
# Datagrams that end the reference, and others that are hard to decode.
OTHERS = {
    "ten-bytes": b"d1:yl1:qee",
    "empty": b"",
    "no-dictionary": b"i1e",
    "list": b"l1:q4:pinge",
    "y-is-list": b"d1:t2:aa1:yl1:qee",
    "no-end": b"d1:t2:aa1:y1:q",
    "bytes-after-the-end": b"d1:y1:qe" * 2,
    "unsorted": b"d1:y1:q1:t2:aa1:q4:ping1:ad2:id20:" + b"\x11" * 20 + b"ee",
    "deep-lists": b"d1:a" + b"l" * 30_000 + b"e" * 30_000 + b"e",
    "deep-dicts": b"d1:a" * 10_000 + b"e" * 10_000,
    "long-integer": b"d1:ai" + b"9" * 60_000 + b"e1:q4:ping1:t2:aa1:y1:qe",
    "long-transaction-id": bencode({"t": b"a" * 60_000, "y": "q", "q": "ping", "a": {"id": b"\x11" * 20}}),
    "long-method": bencode({"t": "aa", "y": "q", "q": b"\xff" * 60_000, "a": {"id": b"\x11" * 20}}),
    "error-without-text": b"d1:eli201ee1:t2:aa1:y1:ee",
    "error-is-text": b"d1:e3:bad1:t2:aa1:y1:ee",
    "error-unasked": b"d1:eli201e3:bade1:t2:aa1:y1:ee",
    "response-unasked": b"d1:rd2:id20:" + b"\x12" * 20 + b"5:nodes7:aaaaaaae1:t2:aa1:y1:re",
    "id-of-19-bytes": b"d1:ad2:id19:" + b"\x11" * 19 + b"e1:q4:ping1:t2:aa1:y1:qe",
    "nothing-but-zeros": bytes(1_000),
    "http": b"GET / HTTP/1.1\r\nHost: grape\r\n\r\n",
}
DATAGRAMS = MALFORMED | OTHERS
COMMAND = "twistd -n grape"  # Its log has the level of each line.


def with_token(datagram: bytes, token: bytes) -> bytes:
    """Returns the datagram with a token of this grape in place of the recorded one."""
    return re.sub(rb"5:token20:.{20}", lambda _: b"5:token" + bencode(token), datagram, flags=re.DOTALL)


def test_vectors_have_all_malformed_datagrams() -> None:
    assert len(MALFORMED) == 26


def test_malformed_datagrams_are_survived_and_not_logged(grape_process: StartGrape) -> None:
    grape = grape_process(command=COMMAND)
    port = grape.api.dht_port
    log = grape.process.output
    with Peer() as peer:
        pong = peer.query(port, b"ping")
        token = peer.query(port, b"get_peers", info_hash=b"a" * 20)[b"r"][b"token"]
        for name, datagram in DATAGRAMS.items():
            for variant in {datagram, with_token(datagram, token)}:
                peer.send(port, variant)
                assert peer.query(port, b"ping")[b"r"] == pong[b"r"], name
    assert grape.call("lookup", "nobody") == []
    assert grape.process.output == log
    assert grape.end() < 0
    assert not re.search("error|critical|Traceback|Unhandled", grape.process.output)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_damaged_queries_are_survived_and_not_logged(grape_process: StartGrape, seed: int) -> None:
    dice = random.Random(seed)
    grape = grape_process(command=COMMAND)
    port, log = grape.api.dht_port, grape.process.output
    with Peer() as peer:
        for _ in range(500):
            datagram = bytearray(dice.choice(RECORDED))
            for _ in range(dice.randint(1, 4)):
                datagram[dice.randrange(len(datagram))] = dice.randrange(256)
            peer.send(port, bytes(datagram))
            assert b"r" in peer.query(port, b"ping"), (seed, bytes(datagram))
    assert grape.process.output == log
