"""What a node counts, and who hears of what happens on its socket."""

from __future__ import annotations

from typing import Protocol

import attrs

from grape.dht.compact import Address


@attrs.define(slots=True)
class Counters:
    """How often things happened on the socket since the start."""

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


@attrs.frozen
class Stats:
    """What a node holds now, and what it has done since its start."""

    node_id: str
    dht_port: int
    ready: bool
    contacts: int
    buckets: list[int]
    services: int
    items: int
    queries_in_flight: int
    counters: dict[str, int]
    #: Why puts are refused now: the state file cannot be written; None: all is well.
    degraded: str | None = None


class Listener(Protocol):
    """Who hears of what happens on the socket."""

    def contact_listed(self, address: Address) -> None: ...

    def contact_dropped(self, address: Address) -> None: ...

    def warned(self, reason: str, address: Address) -> None: ...
