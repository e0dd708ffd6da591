"""An HTTP request on its way through the door, who may answer it, and the answers that HTTP itself has."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from grape.coalesce import Cancellable
from grape.web.answer import Answer

CALL_PATHS = frozenset((b"/lookup", b"/announce", b"/put", b"/get"))


class Answerer(Protocol):
    """What answers a request for a path: grape.web.api.Api."""

    def answer(self, path: bytes, body: bytes, done: Callable[[Answer], object]) -> Cancellable: ...


class Site(Protocol):
    """Where the other requests go: a twisted.web Site."""

    def buildProtocol(self, addr: Any) -> Any: ...


class Request:
    """A request under way, and the place of its answer in the order of its connection."""

    __slots__ = ("answer", "body", "cors", "data", "headers", "keep_alive", "method", "path", "refused", "work")

    def __init__(self, data: bytes = b"") -> None:
        self.path = b""
        self.method = b""
        self.headers: dict[bytes, bytes] = {}
        self.body: list[bytes] = []
        # What came in together with its beginning, if nothing came before it.
        self.data = data
        self.keep_alive = True
        # Set for what was answered before it was read to its end.
        self.refused = False
        self.cors: list[tuple[bytes, bytes]] = []
        self.work: Cancellable | None = None
        self.answer: bytes | None = None

    @property
    def is_plain(self) -> bool:
        """Whether its answer has no headers but those of every answer, and a body."""
        return self.keep_alive and not self.cors and self.method == b"POST"

    @property
    def is_readable(self) -> bool:
        """Whether twisted.web's router can read the path: it trips over what is not UTF-8."""
        if b"%" not in self.path:
            return True
        try:
            unquote_to_bytes(self.path).decode()
        except UnicodeDecodeError:
            return False
        return True

    def head(self) -> bytes:
        """The head for another parser: the body follows in one piece, upgrades and expectations are left out."""
        left_out = (b"transfer-encoding", b"content-length", b"expect", b"upgrade", b"connection")
        return self._head_without(left_out, b"content-length: %d\r\n" % sum(map(len, self.body)))

    def head_without_upgrade(self) -> bytes:
        """The head for the same parser: the body follows as the client sends it."""
        return self._head_without((b"upgrade", b"connection"))

    def _head_without(self, left_out: Container[bytes], added: bytes = b"") -> bytes:
        lines = b"".join(b"%b: %b\r\n" % header for header in self.headers.items() if header[0] not in left_out)
        if not self.keep_alive:
            added += b"connection: close\r\n"
        return b"%b %b HTTP/1.1\r\n%b%b\r\n" % (self.method, self.path, lines, added)
