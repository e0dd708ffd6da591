"""Heads of requests that were read before: most clients send the same one each time.

A head that httptools has read, and that the rules of access have let through, is read no more while it comes again,
byte for byte, at the start of a request.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

MAX_HEADS = 256
MAX_KNOWN_BYTES = 1_024
END = b"\r\n\r\n"

# What a plain call's head does not have: with one of these its body's end or its answer is not that simple.
_SPECIAL = frozenset(
    (
        b"access-control-request-method",
        b"expect",
        b"origin",
        b"sec-fetch-site",
        b"transfer-encoding",
        b"upgrade",
    )
)


@attrs.frozen
class Head:
    """A plain call's: its path, its fields and the bytes of its body."""

    path: bytes
    headers: Mapping[bytes, bytes]
    body_bytes: int


class HeadCache:
    """The heads that came lately to one address of this machine's, by their bytes."""

    def __init__(self) -> None:
        self._heads: dict[tuple[bytes, str], Head] = {}

    def __len__(self) -> int:
        return len(self._heads)

    def get(self, head: bytes, local_host: str) -> Head | None:
        """What is known of a head that came to ``local_host``."""
        return self._heads.get((head, local_host))

    def learn(self, data: bytes, local_host: str, path: bytes, headers: Mapping[bytes, bytes]) -> None:
        """Take note of a call that was let through and leaves its connection open, if it is plain.

        ``data`` are its bytes, head and body.
        """
        length = headers.get(b"content-length", b"")
        head_bytes = data.find(END) + len(END)
        if (
            not length.isdigit()
            or not len(END) <= head_bytes <= MAX_KNOWN_BYTES
            or len(data) != head_bytes + int(length)
            or not _SPECIAL.isdisjoint(headers)
            or not data.startswith(b"POST %b HTTP/1.1\r\n" % path)
        ):
            return
        if len(self._heads) >= MAX_HEADS:
            del self._heads[next(iter(self._heads))]
        self._heads[data[:head_bytes], local_host] = Head(path, headers, int(length))
