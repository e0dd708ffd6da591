"""Reads the recordings of the Node grape's HTTP API, for the tests that replay them."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import attrs

PATH = Path(__file__).parent / "vectors" / "http-vectors.json"


@attrs.frozen
class Step:
    """A request, and the Node grape's answer; ``status`` is None where it closed the connection, or had died."""

    target: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    chunked: bool
    status: int | None
    expected: str
    in_any_order: bool

    @property
    def data(self) -> Any:
        """The ``data`` of the request's body."""
        return json.loads(self.body)["data"]


@attrs.frozen
class Vector:
    """Requests, in order, to grapes that were started as ``setup`` says."""

    name: str
    setup: str
    steps: list[Step]

    def __str__(self) -> str:
        return self.name


@attrs.frozen
class RawVector:
    """Bytes on a connection to a grape, and the bytes that the Node grape sent back."""

    name: str
    sent: bytes
    half_closes: bool

    def __str__(self) -> str:
        return self.name


def _body(request: dict[str, Any]) -> bytes:
    if "body_base64" in request:
        return b64decode(request["body_base64"])
    if "body_repeat" in request:
        repeat = request["body_repeat"]
        return str(repeat["prefix"] + repeat["char"] * repeat["count"] + repeat["suffix"]).encode()
    return str(request["body"]).encode()


def _step(item: dict[str, Any]) -> Step:
    request, response = item["request"], item["response"]
    return Step(
        target=request["target"],
        method=request["method"],
        path=request["path"],
        headers=request["headers"],
        body=_body(request),
        chunked=request.get("chunked", False),
        status=response["status"] if response is not None else None,
        expected=response["body"] if response is not None else "",
        in_any_order=any("order" in varying for varying in item["varying"]),
    )


def _raw(item: dict[str, Any]) -> RawVector:
    request = item["request"]
    sent = b64decode(request["raw_base64"]) if "raw_base64" in request else request["raw"].encode()
    return RawVector(item["name"], sent, request["client_half_closes"])


_ITEMS: list[dict[str, Any]] = json.loads(PATH.read_text())

# Requests that a client library would rewrite or refuse to send, and those that twisted.web judges itself.
_FOR_A_SOCKET = ("route/", "ctype/", "size/", "cli/size", "method/CONNECT", "method/unknown-FOO", "method/lowercase")

RAW_VECTORS = [_raw(item) for item in _ITEMS if item["name"].startswith("transport/")]
_VECTORS = [
    Vector(item["name"], item["setup"], [_step(step) for step in item.get("sequence", [item])])
    for item in _ITEMS
    if not item["name"].startswith("transport/")
]
SOCKET_VECTORS = [vector for vector in _VECTORS if vector.name.startswith(_FOR_A_SOCKET)]
VECTORS = [vector for vector in _VECTORS if not vector.name.startswith(_FOR_A_SOCKET)]
