"""Provides a small blocking HTTP client, cheap enough that measurements show the grape and not the client."""

from __future__ import annotations

import json
import socket
import time
from typing import Any, Self

import attrs

from gauntlet.machine import HOST

CALL_SECONDS = 15.0
CHUNK_BYTES = 65_536


class ClientError(Exception):
    """Raised when the server closes the connection, sends what is not HTTP, or answers a call with an error."""


@attrs.frozen
class Reply:
    """Holds a response. The names of ``headers`` are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """Sends requests to a grape, of this machine unless ``host`` is given, over one connection that is kept alive.

    ``seconds`` is how long the connection and each read may take. Raises OSError if it cannot connect.
    """

    def __init__(self, port: int, seconds: float = CALL_SECONDS, *, host: str = HOST) -> None:
        self._authority = f"{host}:{port}"
        self._socket = socket.create_connection((host, port), seconds)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._socket.close()

    def send(self, octets: bytes) -> None:
        """Sends octets as they are; ``reply`` reads the response. Raises OSError."""
        self._socket.sendall(octets)

    def post(self, path: str, body: bytes) -> Reply:
        """Sends a POST request as the Node link does, and returns the response. Raises ClientError, OSError."""
        head = f"POST {path} HTTP/1.1\r\nhost: {self._authority}\r\ncontent-type: application/json\r\ncontent-length: "
        self._socket.sendall(b"%b%d\r\n\r\n%b" % (head.encode(), len(body), body))
        return self.reply()

    def call(self, path: str, data: object) -> Any:
        """Makes one of the API's calls, ``path`` without its slash, and returns the answer; None for an empty body.

        Raises ClientError for any status but 200, and OSError.
        """
        reply = self.post(f"/{path}", json.dumps({"rid": "gauntlet", "data": data}).encode())
        if reply.status != 200:
            raise ClientError(f"{reply.status} {reply.body[:200]!r}")
        return json.loads(reply.body) if reply.body else None

    def timed(self, path: str, data: object) -> tuple[float, Any]:
        """Makes a call, and returns the seconds that it took and its answer."""
        began = time.perf_counter()
        answer = self.call(path, data)
        return time.perf_counter() - began, answer

    def reply(self, *, to_head: bool = False) -> Reply:
        """Reads the next response; with ``to_head`` one without a body. Raises ClientError, OSError."""
        while b"\r\n\r\n" not in self._rest:
            self._read()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        try:
            status = int(lines[0].split(" ")[1])
        except (IndexError, ValueError) as error:
            raise ClientError(f"the response is not HTTP: {lines[0][:80]!r}") from error
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
        }
        length = 0 if to_head or status in (100, 204) else int(headers.get("content-length", "0"))
        while len(self._rest) < length:
            self._read()
        body, self._rest = self._rest[:length], self._rest[length:]
        return Reply(status, headers, body)

    def _read(self) -> None:
        octets = self._socket.recv(CHUNK_BYTES)
        if not octets:
            raise ClientError("the grape closed the connection")
        self._rest += octets


def lookup_anew(port: int, name: str) -> tuple[float, Any]:
    """Looks a name up over a new connection, and returns the seconds that both took and the answer."""
    began = time.perf_counter()
    with Client(port) as client:
        answer = client.call("lookup", name)
    return time.perf_counter() - began, answer
