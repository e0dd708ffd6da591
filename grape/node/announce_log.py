"""Logs announces that come by UDP, and peers that expire, each with who announced; for ``log_announces``.

Announces by HTTP are logged where the client is known (``grape.web.api``). Names are strangers' words: they are written
in quotes, with their control characters escaped, and shortened.

Under 60 lines: three lines of a log.
"""

from __future__ import annotations

from twisted.logger import Logger

from grape.dht.compact import Address

MAX_NAME_CHARACTERS = 200

log = Logger(namespace="grape.node")


class AnnounceLog:
    """Writes a line for each announce and for each expired peer: a ``PeerWatch`` of ``grape.store``."""

    def announced(self, key: bytes, peer: Address, announcer: Address | None, age: float) -> None:
        """Logs an announce of another node; one that is repeated for a service says how old it is."""
        if announcer is not None:
            repeated = f" (made {age:.0f} s ago)" if age else ""
            # Each is a line of its own, however often it comes.
            log.info("announce of {name!r}: peer {peer}, by UDP {client}{repeated}", name=shown_name(key),
                     peer=_text(peer), client=_text(announcer), repeated=repeated, is_answer=True)  # fmt: skip

    def expired(self, key: bytes, peer: Address, announcer: Address) -> None:
        """Logs a peer that was not announced again in time."""
        log.info("expired: {name!r}: peer {peer}, announced by UDP {client}", name=shown_name(key), peer=_text(peer),
                 client=_text(announcer), is_answer=True)  # fmt: skip


def shown_name(name: str | bytes) -> str:
    """Returns the name of a service for the log, not too long."""
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else name
    return text if len(text) <= MAX_NAME_CHARACTERS else f"{text[:MAX_NAME_CHARACTERS]}..."


def _text(address: Address) -> str:
    return f"{address[0]}:{address[1]}"
