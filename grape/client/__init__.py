"""Offers clients of a grape in three styles: for Twisted, for asyncio, and for programs that wait.

``Link`` here is Twisted's, on treq; it is loaded at its first use. ``grape.client.aio.Link`` is asyncio's and
``grape.client.blocking.Link`` waits for each answer; these two need the extra ``client`` and load no Twisted. They have
the same methods::

    from grape.client import Link

    link = Link(["http://127.0.0.1:30001", "http://127.0.0.1:30002"])
    assert await link.lookup("rest:util:net") == ["10.0.0.7:1337"]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grape.client.errors import (
    AnswerError,
    ClientError,
    DeadlineError,
    NotSupportedError,
    SignatureError,
    UnreachableError,
)
from grape.client.items import Item, mutable_hash, new_private_key, public_key

__all__ = [
    "AnswerError",
    "ClientError",
    "DeadlineError",
    "Item",
    "Link",
    "NotSupportedError",
    "SignatureError",
    "UnreachableError",
    "mutable_hash",
    "new_private_key",
    "public_key",
]

if TYPE_CHECKING:
    from grape.client.twisted import Link
else:

    def __getattr__(name: str) -> object:
        """Imports Twisted's ``Link`` at its first use, so that the other two load without Twisted."""
        if name == "Link":
            from grape.client.twisted import Link

            return Link
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
