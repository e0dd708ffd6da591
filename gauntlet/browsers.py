"""Tests which requests of web pages a grape refuses, and that it serves those of every Grenache client."""

from __future__ import annotations

import time
from collections.abc import Iterator

import attrs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gauntlet.client import Client, ClientError
from gauntlet.processes import complaints, lone_grape, ring
from gauntlet.row import Finding, Row, Run, judge
from gauntlet.shapes import shapes

ALLOWED_ORIGIN = "https://app.example"
ALLOWED_HOST = "grape.internal"
BODY = b'{"rid":"1","data":"gauntlet:browser"}'
PIECE_SECONDS = 0.01

Header = tuple[str, str]


@attrs.frozen
class Cell:
    """Describes a request; ``served`` is True if a grape must serve it, False if it must refuse it."""

    method: str
    headers: tuple[Header, ...]
    served: bool
    version: str = "1.1"

    def octets(self) -> bytes:
        """Returns the request as it is sent."""
        body = BODY if self.method == "POST" else b""
        path = "/lookup" if self.method != "GET" else "/"
        lines = [f"{self.method} {path} HTTP/{self.version}", *(f"{name}: {value}" for name, value in self.headers)]
        if body:
            lines += ["Content-Type: text/plain;charset=UTF-8", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + body


def own_hosts(port: int) -> list[str]:
    """Lists Host headers that name this machine."""
    names = ("127.0.0.1", "localhost", "[::1]", "127.1.2.3", "LOCALHOST")
    return [*(f"{name}:{port}" for name in names), "127.0.0.1", "localhost"]


def foreign_hosts(port: int) -> list[str]:
    """Lists Host headers of names that were rebound to this machine, and malformed ones."""
    names = (
        "evil.example",
        "127.0.0.1.evil.com",
        "localhost.evil.com",
        "evil-127.0.0.1",
        "192.0.2.1",
        "0x7f000001.evil",
    )
    tricks = (f"127.0.0.1@evil.com:{port}", f"evil.com:{port}, 127.0.0.1", "evil.com#127.0.0.1", "")
    return [*(f"{name}:{port}" for name in names), "evil.com", *tricks]


def foreign_origins(port: int) -> list[str]:
    """Lists Origin headers of other sites' pages."""
    return [
        "null",
        "http://evil.example",
        f"http://evil.example:{port}",
        f"http://127.0.0.1.evil.com:{port}",
        f"http://localhost.evil.com:{port}",
        f"http://127.0.0.1:{port ^ 1}",
        "http://127.0.0.1:3000",
        "file://",
        f"http://127.0.0.1:{port}.evil.com",
        "",
    ]


def matrix(port: int) -> Iterator[Cell]:
    """Yields every combination of Origin, Host and method, and further requests."""
    for method in ("POST", "GET"):
        for host in own_hosts(port):
            yield Cell(method, (("Host", host),), served=True)
            yield Cell(method, (("Host", host), ("Origin", f"http://{host.lower()}")), served=True)
            for origin in foreign_origins(port):
                yield Cell(method, (("Host", host), ("Origin", origin)), served=False)
        for host in foreign_hosts(port):
            yield Cell(method, (("Host", host),), served=False)
            yield Cell(method, (("Host", host), ("Origin", f"http://{host}")), served=False)
            yield Cell(method, (("Host", host), ("Origin", "null")), served=False)
        own = f"127.0.0.1:{port}"
        for site in ("cross-site", "same-site", "Cross-Site"):
            yield Cell(method, (("Host", own), ("Sec-Fetch-Site", site)), served=False)
        for site in ("same-origin", "none"):
            yield Cell(method, (("Host", own), ("Sec-Fetch-Site", site)), served=True)
        yield Cell(method, (("Host", own), ("Host", "evil.com")), served=False)
        yield Cell(method, (("Host", "evil.com"), ("Host", own)), served=False)
        yield Cell(method, (("Host", own), ("Origin", f"http://{own}"), ("Origin", "http://evil.com")), served=False)
        yield Cell(method, (), served=False)
        yield Cell(method, (("Origin", "http://evil.example"),), served=False, version="1.0")
        yield Cell(method, (("Host", f"evil.com:{port}"),), served=False, version="1.0")
    yield Cell("POST", (), served=True, version="1.0")
    for origin in foreign_origins(port):
        asked = (("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "content-type"))
        yield Cell("OPTIONS", (("Host", f"127.0.0.1:{port}"), ("Origin", origin), *asked), served=False)


def permitted(port: int) -> Iterator[Cell]:
    """Yields requests to a grape that allows one origin and one host."""
    own = f"127.0.0.1:{port}"
    asked = ("Access-Control-Request-Method", "POST")
    for method in ("POST", "GET"):
        yield Cell(method, (("Host", own), ("Origin", ALLOWED_ORIGIN)), served=True)
        yield Cell(method, (("Host", f"{ALLOWED_HOST}:{port}"),), served=True)
        yield Cell(method, (("Host", own), ("Origin", f"{ALLOWED_ORIGIN}.evil.com")), served=False)
        yield Cell(method, (("Host", own), ("Origin", f"{ALLOWED_ORIGIN}:444")), served=False)
        yield Cell(method, (("Host", own), ("Origin", "http://app.example")), served=False)
        yield Cell(method, (("Host", f"x.{ALLOWED_HOST}:{port}"),), served=False)
        yield Cell(method, (("Host", "evil.com"), ("Origin", ALLOWED_ORIGIN)), served=False)
    yield Cell("OPTIONS", (("Host", own), ("Origin", ALLOWED_ORIGIN), asked), served=True)
    yield Cell("OPTIONS", (("Host", own), ("Origin", "http://evil.example"), asked), served=False)


def wrong(port: int, cell: Cell, allowed: str | None = None) -> str | None:
    """Sends a cell's request; returns what is wrong with the response, None if nothing is."""
    shown = f"{cell.method} {dict(cell.headers)} {cell.version}"
    try:
        with Client(port, seconds=5.0) as client:
            client.send(cell.octets())
            reply = client.reply()
    except (OSError, ClientError) as error:
        return f"{shown}: {error!r}"
    is_served = reply.status not in (400, 403)
    if is_served != cell.served:
        return f"{shown}: {reply.status}"
    cors = reply.headers.get("access-control-allow-origin")
    if cors is not None and (cors != allowed or not cell.served):
        return f"{shown}: lets {cors} read"
    # A GET is no call: the page need not be able to read its answer.
    if (
        allowed is not None
        and cell.served
        and cell.method != "GET"
        and ("Origin", allowed) in cell.headers
        and cors != allowed
    ):
        return f"{shown}: does not let {allowed} read"
    if reply.status == 403 and (b"ERR_GRAPE_ORIGIN" not in reply.body and b"ERR_GRAPE_HOST" not in reply.body):
        return f"{shown}: does not say why"
    return None


def browsers(run: Run) -> Finding:
    """Sends all requests to a grape with default settings, and to one that allows an origin and a host."""
    with lone_grape() as grape:
        cells = list(matrix(grape.ports.api))
        found = [wrong(grape.ports.api, cell) for cell in cells]
        bad = complaints([grape])
    with lone_grape(["--allow-origin", ALLOWED_ORIGIN, "--allow-host", ALLOWED_HOST]) as grape:
        more = list(permitted(grape.ports.api))
        found += [wrong(grape.ports.api, cell, ALLOWED_ORIGIN) for cell in more]
        bad += complaints([grape])
    faults = [fault for fault in found if fault is not None]
    figures: dict[str, int | str] = {"cells": len(found), "wrong": len(faults), "errors logged": len(bad)}
    if faults:
        figures["such as"] = " | ".join(faults[:6])
    return judge(figures, {"every cell as it must be": not faults, "no error logged": not bad})


def clients(run: Run) -> Finding:
    """Sends every client's requests, each in the segments that the client sends."""
    refused, sent = [], 0
    with lone_grape() as grape:
        for name, requests in shapes(grape.ports.api).items():
            for pieces in requests:
                sent += 1
                fault = _not_accepted(grape.ports.api, pieces)
                if fault is not None:
                    refused.append(f"{name}: {fault}")
        bad = complaints([grape])
        number = len(shapes(grape.ports.api))
    fault = _mutable_refused()
    refused += [] if fault is None else [f"mutable put: {fault}"]
    figures: dict[str, int | str] = {"clients": number, "requests": sent, "refused": len(refused)}
    if refused:
        figures["such as"] = " | ".join(refused[:4])
    return judge(figures, {"all accepted": not refused, "no error logged": not bad})


def _not_accepted(port: int, pieces: tuple[bytes, ...]) -> str | None:
    try:
        with Client(port, seconds=5.0) as client:
            for piece in pieces:
                client.send(piece)
                time.sleep(PIECE_SECONDS if len(pieces) > 1 else 0)
            reply = client.reply()
            if reply.status == 100:
                reply = client.reply()
    except (OSError, ClientError) as error:
        return repr(error)
    return None if reply.status == 200 else f"{reply.status} {reply.body[:60]!r}"


def _mutable_refused() -> str | None:
    """Puts a mutable item through one grape and reads it through another; returns what is wrong, None if nothing is."""
    private, value, seq = Ed25519PrivateKey.generate(), "mutable", 1_700_000_000_000_000
    signature = private.sign(f"3:seqi{seq}e1:v{len(value)}:{value}".encode())
    key = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    with ring(2) as grapes, Client(grapes[0].ports.api) as here, Client(grapes[1].ports.api) as there:
        try:
            target = here.call("put", {"v": value, "k": key.hex(), "sig": signature.hex(), "seq": seq})
            got = there.call("get", {"hash": target, "salt": ""})
        except ClientError as error:
            return str(error)
    return None if isinstance(got, dict) and (got.get("v"), got.get("seq")) == (value, seq) else f"{target}: {got}"


ROWS = (
    Row(
        "browsers",
        "requests of web pages: every Origin, Host and method, rebound names, malformed headers",
        "each served or refused as it must be: a page that is not allowed gets 403",
        browsers,
    ),
    Row(
        "clients",
        "the requests of every Grenache client, byte for byte; a mutable item",
        "each answered with 200, the item read back",
        clients,
    ),
)
