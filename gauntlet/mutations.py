"""Makes malformed datagrams and HTTP requests from valid ones."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from bencode2 import bdecode, bencode

from gauntlet.machine import ROOT
from gauntlet.shapes import whole

VECTORS = ROOT / "tests" / "vectors"
BOMB_BYTES = 60_000
MAX_BODY_BYTES = 20_000

_METHODS = (
    *(b"ping", b"find_node", b"get_peers", b"announce_peer", b"unannounce_peer", b"get", b"put"),
    *(b"vote", b"", b"\xff" * 40),
)
_STRANGE: tuple[Any, ...] = (
    -1,
    0,
    65_536,
    2**31,
    2**63,
    -(2**63),
    b"",
    b"\x00" * 19,
    b"\xff" * 21,
    b"x" * 2_000,
    [],
    [1, b"x", []],
    [[[[[[]]]]]],
    {},
    {b"id": b"\x01" * 20},
    {b"": {b"": {b"": b""}}},
)


def packets() -> list[bytes]:
    """Returns the recorded datagrams of grenache-grape, each once."""
    vectors = json.loads((VECTORS / "wire-vectors.json").read_text())
    return sorted({bytes.fromhex(packet["hex"]) for vector in vectors for packet in vector["packets"]} - {b""})


def requests(port: int) -> list[bytes]:
    """Returns the clients' requests, one with each recorded body, and those that the reference does not have."""
    vectors = json.loads((VECTORS / "http-vectors.json").read_text())
    recorded = []
    for vector in vectors:
        for step in vector.get("sequence", [vector]):
            request = step["request"]
            body = str(request.get("body", "")).encode()
            if request.get("path", "").startswith("/") and " " not in request["path"]:
                head = (
                    f"POST {request['path']} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(body)}\r\n\r\n"
                )
                recorded.append(head.encode() + body)
    # The reference does not have these.
    for path, data in (("/unannounce", ["rest:util:net", 1337]), ("/announce", ["rest:util:net", 1337, {"ttl": 30}])):
        body = json.dumps({"rid": "1", "data": data}).encode()
        recorded.append(
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )
    return whole(port) + sorted(set(recorded))


class Datagrams:
    """Makes mutated datagrams; the same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._packets = packets()
        # The few long ones are used less often.
        self._short = [packet for packet in self._packets if len(packet) < 1_500]
        self._trees = [bdecode(packet) for packet in self._short if _is_message(packet)]

    def next(self) -> bytes:
        """Returns the next datagram."""
        dice = self._dice
        kind = dice.random()
        packet = dice.choice(self._packets if kind < 0.01 else self._short)
        if kind < 0.3:
            return flipped(packet, dice)
        if kind < 0.45:
            return packet[: dice.randrange(len(packet) + 1)]
        if kind < 0.6:
            return spliced(packet, dice.choice(self._short), dice)
        if kind < 0.9:
            return bencode(self._confused())
        if kind < 0.995:
            return bomb(dice, 600)
        return bomb(dice, BOMB_BYTES)

    def _confused(self) -> Any:
        """Returns a message in which one value has another type or size, or is missing."""
        dice = self._dice
        tree = _copy(dice.choice(self._trees))
        place: Any = tree
        while True:
            key = dice.choice(sorted(place)) if isinstance(place, dict) and place else None
            if key is None:
                return tree
            if isinstance(place[key], dict) and place[key] and dice.random() < 0.8:
                place = place[key]
                continue
            if key == b"q" and dice.random() < 0.5:
                place[key] = dice.choice(_METHODS)
            elif dice.random() < 0.15:
                del place[key]
            else:
                place[key] = dice.choice(_STRANGE)
            return tree


def flipped(octets: bytes, dice: random.Random) -> bytes:
    """Flips one to eight bits."""
    changed = bytearray(octets or b"\0")
    for _ in range(1 + dice.getrandbits(3)):
        changed[dice.randrange(len(changed))] ^= 1 << dice.getrandbits(3)
    return bytes(changed)


def spliced(first: bytes, second: bytes, dice: random.Random) -> bytes:
    """Joins the beginning of one and the end of the other."""
    return first[: dice.randrange(len(first) + 1)] + second[dice.randrange(len(second) + 1) :]


def bomb(dice: random.Random, size: int) -> bytes:
    """Returns bencode that is deep, long or states a wrong length; ``size`` is about its size in bytes."""
    size = dice.randrange(1, size)
    kind = dice.randrange(9)
    if kind == 0:
        return b"l" * size
    if kind == 1:
        return b"l" * (size // 2) + b"e" * (size // 2)
    if kind == 2:
        return b"d1:a" * (size // 4)
    if kind == 3:
        return b"d1:t2:aa1:y1:q1:q4:ping1:ad2:id20:" + b"\x01" * 20 + b"ee" + b"e" * size
    if kind == 4:
        return b"d1:ai" + b"9" * size + b"e1:y1:qe"
    if kind == 5:
        return b"d1:a" + b"9" * dice.randrange(1, 40) + b":" + b"x" * size
    if kind == 6:
        nested = b"l" * (size // 2) + b"e" * (size // 2)
        return b"d1:ad2:id20:" + b"\x01" * 20 + b"1:v" + nested + b"e1:q3:put1:t2:aa1:y1:qe"
    if kind == 7:
        return b"d" + b"1:a1:b" * (size // 6) + b"e"
    return dice.randbytes(size)


class Requests:
    """Makes mutated HTTP requests to the port; the same seed gives the same ones."""

    def __init__(self, port: int, seed: int) -> None:
        self._dice = random.Random(seed)
        self._requests = requests(port)

    def next(self) -> bytes:
        """Returns the next request."""
        dice = self._dice
        request = dice.choice(self._requests)
        kind = dice.random()
        if kind < 0.25:
            return flipped(request, dice)
        if kind < 0.4:
            return request[: dice.randrange(len(request) + 1)]
        if kind < 0.5:
            return spliced(request, dice.choice(self._requests), dice)
        if kind < 0.55:
            return request * dice.randrange(2, 20)
        if kind < 0.75:
            return _with_body(request, _strange_json(dice))
        return _with_head(request, dice)


def _with_body(request: bytes, body: bytes) -> bytes:
    path = request.split(b" ", 2)[1] if request.count(b" ") > 1 else b"/lookup"
    return b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%b" % (path, len(body), body)


def _strange_json(dice: random.Random) -> bytes:
    kind = dice.randrange(10)
    size = dice.randrange(1, 4_000)
    bodies: Sequence[bytes] = (
        b"[" * size,
        b'{"data":' * (size // 8) + b"1" + b"}" * (size // 8),
        b'{"data":%b}' % dice.choice((b"NaN", b"1e400", b"-Infinity", b"1" * size, b"null", b"[]", b"{}", b"true")),
        b'{"data":"%b"}' % dice.choice((b"\\ud800", b"\xff\xfe", b"\\u0000", b"x" * size, b"", b"\xf0\x9f\x98\x80")),
        b'{"data":["name",%b]}' % dice.choice((b"70000", b"-1", b"1.5", b"1e9", b'"80"', b"null", b"[1]", b"0")),
        b'{"data":{"v":"x","k":%b,"sig":[],"seq":1e30}}' % (dice.choice((b'"zz"', b"[1]", b"{}", b"7"))),
        b'{"data":{"hash":%b,"salt":%b}}'
        % (dice.choice((b'"zz"', b"1", b"[]")), dice.choice((b'""', b"{}", b"[300]"))),
        b'{"data":{"type":"Buffer","data":[%b]}}' % b",".join([b"256"] * (size // 4)),
        b"x" * dice.randrange(MAX_BODY_BYTES),
        b'{"data":"a","data":[1],"__proto__":{"x":1}}',
    )
    return bodies[kind]


def _with_head(request: bytes, dice: random.Random) -> bytes:
    line, _, rest = request.partition(b"\r\n")
    size = dice.randrange(1, 30_000)
    extra: Sequence[bytes] = (
        b"X: " + b"x" * size + b"\r\n",
        b"X: y\r\n" * (size // 20),
        b"Content-Length: %b\r\n" % dice.choice((b"99999999999", b"-1", b"0x10", b"1, 2", b"", b"9" * 30)),
        b"Transfer-Encoding: %b\r\n" % dice.choice((b"chunked", b"gzip, chunked", b"chunked, chunked", b"xchunked")),
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\n" % dice.choice((b"h2c", b"websocket", b"\xff")),
        b"Expect: %b\r\n" % dice.choice((b"100-continue", b"200-ok", b"")),
        b"Host: evil.com\r\n",
        b"Origin: http://evil.com\r\n",
        b"\x00: \x00\r\n",
        b" folded: yes\r\n\tno\r\n",
        b"no colon\r\n",
    )
    if dice.random() < 0.3:
        method = dice.choice((b"GET", b"CONNECT", b"OPTIONS", b"HEAD", b"PRI", b"post", b"\x16\x03\x01", b"TRACE"))
        path = dice.choice(
            (b"/lookup", b"*", b"/", b"http://x/", b"/..%00", b"/" + b"a" * size, b"/debug", b"//lookup")
        )
        line = b"%b %b %b" % (method, path, dice.choice((b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"ICY/1")))
    return line + b"\r\n" + dice.choice(extra) + rest


def _is_message(packet: bytes) -> bool:
    try:
        return isinstance(bdecode(packet), dict)
    except ValueError:
        return False


def _copy(tree: Any) -> Any:
    return {key: _copy(value) for key, value in tree.items()} if isinstance(tree, dict) else tree
