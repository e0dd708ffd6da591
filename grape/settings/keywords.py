"""Types the keywords of ``Grape`` for mypy, which reads no metadata: the one list beside the declaration.

A test compares the two.

Under 60 lines: it has no code.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict


class Limits(TypedDict, total=False):
    """Types the limits among the keywords of ``Grape``; Grenache has no names for them."""

    max_keys: int
    max_peers_per_key: int
    max_peers_per_announcer: int
    max_store_bytes: int
    max_item_bytes: int
    max_pending: int
    max_queries_per_lookup: int
    max_liveness_checks: int
    max_verifying: int
    max_strangers: int
    max_announces: int
    max_calls: int
    max_connections: int
    max_connections_per_host: int


class Keywords(Limits, total=False):
    """Types the keywords of ``Grape``, but for the three that are positional, too; times are in milliseconds."""

    api_port_http: int | None
    host: str | None
    dht_bind: str | None
    api_bind: str | None
    advertise: str | None
    dht_concurrency: int
    dht_peer_maxAge: float | None
    cache_maxAge: float | None
    dht_nodeLiveness: float | None
    dht_maxTables: int
    dht_maxValues: int
    check_maxPayloadSize: int
    timeslot: float | None
    allow_origin: str | Iterable[str]
    allow_host: str | Iterable[str]
    profile: str
    read_only: bool
    state: str | None
    durability: str
    drain: int
    ready_isolated: bool
    log_announces: bool
