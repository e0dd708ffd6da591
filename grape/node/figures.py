"""Defines the figures that a node's metrics are made of, at one moment.

Under 60 lines: one class of values.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from grape.config import Config
from grape.dht.counts import Kind
from grape.metrics import Counters, Histogram


@attrs.frozen
class Figures:
    """A snapshot of what a node counts, holds and does; ``grape.node.families`` makes metrics of it."""

    version: str
    counters: Counters
    #: How long lookups took, by what they looked for.
    lookup_times: Mapping[Kind, Histogram]
    #: The limits are among the settings.
    config: Config
    is_ready: bool
    is_isolated: bool
    is_degraded: bool
    #: The numbers of contacts by state.
    contacts: Mapping[str, int]
    #: The buckets of the routing table that hold contacts.
    buckets: int
    services: int
    #: Of all services together.
    peers: int
    items: int
    #: About the memory that services and their peers take, and that items take.
    peer_store_bytes: int
    item_store_bytes: int
    own_announces: int
    own_items: int
    queries_in_flight: int
    #: Those that the kernel dropped unread; None while the UDP socket is closed, or where the system does not tell.
    dropped_datagrams: int | None
    #: How long ago something was committed to the state file, in seconds; None: not since the start, or there is none.
    state_commit_age: float | None
    #: Connections to the port of the HTTP API, how many there may be, and calls under way.
    http_connections: int
    http_connections_limit: int
    http_calls: int
