"""What the DHT's socket counts, and who hears of what happens there."""

from __future__ import annotations

from typing import Protocol

import attrs

from grape.dht.compact import Address


@attrs.define(slots=True)
class Counters:
    """How often things happened since the start."""

    datagrams_in: int = 0
    datagrams_out: int = 0
    malformed: int = 0
    queries_in: int = 0
    refused: int = 0
    queries_out: int = 0
    answered: int = 0
    slow: int = 0
    timed_out: int = 0
    unexpected: int = 0
    lookups: int = 0
    repaired: int = 0
    send_errors: int = 0
    not_sent: int = 0
    shaped: int = 0
    faults: int = 0


class Listener(Protocol):
    """Who hears of what happens on the socket."""

    def contact_listed(self, address: Address) -> None: ...

    def contact_dropped(self, address: Address) -> None: ...

    def warned(self, reason: str, address: Address) -> None: ...
