"""Makes requests as the Grenache clients send them, byte for byte."""

from __future__ import annotations

import json

LOOKUP = {"rid": "5e6d8cc4-7d6b-4a0e-9d4e-0d7cf0e9a3b1", "data": "rest:util:net"}
ANNOUNCE = {"rid": "5e6d8cc4-7d6b-4a0e-9d4e-0d7cf0e9a3b2", "data": ["rest:util:net", 1337]}
PUT = {"rid": "5e6d8cc4-7d6b-4a0e-9d4e-0d7cf0e9a3b3", "data": {"v": "hello world"}}
GET = {"rid": "5e6d8cc4-7d6b-4a0e-9d4e-0d7cf0e9a3b4", "data": "1c1b3ae3e1c6ea43b56ab9a6de7d7f0a3b6a8f55"}
GET_SALTED = {"data": {"hash": "1c1b3ae3e1c6ea43b56ab9a6de7d7f0a3b6a8f55", "salt": ""}, "rid": "1"}
CALLS: dict[str, object] = {"lookup": LOOKUP, "announce": ANNOUNCE, "put": PUT, "get": GET}

Pieces = tuple[bytes, ...]


def shapes(port: int) -> dict[str, list[Pieces]]:
    """Returns the requests of each client by its name. A request is the segments that the client sends."""
    host = f"127.0.0.1:{port}"
    link_agent = "node-fetch/1.0 (+https://github.com/bitinn/node-fetch)"
    return {
        "Node link 1.0.2": [
            _post(
                call,
                _json(data),
                (
                    ("content-type", "application/json"),
                    ("Accept", "*/*"),
                    ("Content-Length", "%d"),
                    ("User-Agent", link_agent),
                    ("Accept-Encoding", "gzip,deflate"),
                    ("Connection", "keep-alive"),
                    ("Host", host),
                ),
            )
            for call, data in CALLS.items()
        ],
        "Node link 0.7": [
            _post(
                call,
                _json(data),
                (
                    ("host", host),
                    ("accept", "application/json"),
                    ("content-type", "application/json"),
                    ("content-length", "%d"),
                    ("Connection", "keep-alive"),
                ),
            )
            for call, data in CALLS.items()
        ],
        "Ruby": [
            _split(
                _post(
                    call,
                    _json(data),
                    (
                        ("Content-Type", "application/x-www-form-urlencoded"),
                        ("Accept-Encoding", "gzip;q=1.0,deflate;q=0.6,identity;q=0.3"),
                        ("Accept", "*/*"),
                        ("User-Agent", "Ruby"),
                        ("Connection", "close"),
                        ("Host", host),
                        ("Content-Length", "%d"),
                    ),
                )
            )
            for call, data in CALLS.items()
        ],
        "curl -d": [
            _post(
                call,
                _json(data),
                (
                    ("Host", host),
                    ("User-Agent", "curl/7.88.1"),
                    ("Accept", "*/*"),
                    ("Content-Length", "%d"),
                    ("Content-Type", "application/x-www-form-urlencoded"),
                ),
            )
            for call, data in CALLS.items()
        ],
        "grenache-cli": [
            _post(
                call,
                _json(data) + b"\n",
                (
                    ("Host", host),
                    ("User-Agent", "grenache-cli/0.7.1"),
                    ("Accept-Encoding", "deflate, gzip, br, zstd"),
                    ("Connection", "close"),
                    ("Accept", "application/json"),
                    ("Content-Type", "application/json; charset=UTF-8"),
                    ("Content-Length", "%d"),
                ),
            )
            for call, data in ({**CALLS, "get": GET_SALTED}).items()
        ],
        "C# chunked": [
            _chunked(call, _json(data), (("Host", host), ("Content-Type", "application/json; charset=utf-8")))
            for call, data in CALLS.items()
        ],
        "Rust": [
            _post(
                call,
                json.dumps(data, indent=1).encode(),
                (("content-type", "application/json; charset=UTF-8"), ("host", host), ("content-length", "%d")),
            )
            for call, data in CALLS.items()
        ],
        "HTTP/1.0, no Host": [
            tuple(
                piece.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n")
                for piece in _post(call, _json(data), (("Content-Length", "%d"),))
            )
            for call, data in CALLS.items()
        ],
        "Expect: 100-continue": [
            _split(_post(call, _json(data), (("Host", host), ("Expect", "100-continue"), ("Content-Length", "%d"))))
            for call, data in CALLS.items()
        ],
    }


def whole(port: int) -> list[bytes]:
    """Returns the requests of all clients, each in one piece."""
    return [b"".join(pieces) for requests in shapes(port).values() for pieces in requests]


def _json(data: object) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode()


def _post(call: str, body: bytes, headers: tuple[tuple[str, str], ...]) -> Pieces:
    lines = [f"POST /{call} HTTP/1.1"]
    lines += [f"{name}: {value.replace('%d', str(len(body)))}" for name, value in headers]
    return ("\r\n".join([*lines, "", ""]).encode() + body,)


def _split(pieces: Pieces) -> Pieces:
    head, _, body = pieces[0].partition(b"\r\n\r\n")
    return (head + b"\r\n\r\n", body)


def _chunked(call: str, body: bytes, headers: tuple[tuple[str, str], ...]) -> Pieces:
    lines = [f"POST /{call} HTTP/1.1", "Transfer-Encoding: chunked", *(f"{name}: {value}" for name, value in headers)]
    half = len(body) // 2
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:]))
    return ("\r\n".join([*lines, "", ""]).encode(), chunks, b"0\r\n\r\n")
