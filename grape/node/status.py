"""Defines what a grape tells of itself: its status, its contacts and the services that it holds.

Times are in seconds: ages, not dates, but for the grape's own clock.
"""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from importlib.machinery import EXTENSION_SUFFIXES
from typing import Generic, TypeVar

import attrs

from grape.dht import nodeid
from grape.dht.buckets import UNMEASURED_SECONDS, Contact
from grape.node.readiness import Readiness

T = TypeVar("T")

# Counters of ``grape.metrics`` that count how often a limit was hit.
LIMIT_COUNTERS = (
    "not_sent",
    "shaped",
    "evicted_keys",
    "evicted_peers",
    "evicted_peers_of_announcer",
    "evicted_items",
    "evicted_withdrawals",
    "unverified_puts",
    "evicted_connections",
    "refused_connections",
    "overloads",
)
# Where Linux lists the descriptors of a process, and where the BSDs and macOS do.
DESCRIPTORS = ("/proc/self/fd", "/dev/fd")


@attrs.frozen
class Contacts:
    """The number of contacts by their state (BEP 5)."""

    #: Answered within the last 15 minutes, and has not failed since.
    good: int
    #: Silent for longer, or did not answer the last query.
    questionable: int


@attrs.frozen
class PerSecond:
    """How often things happen in a second, over the last minute or since the start if that is less."""

    #: HTTP calls (/lookup, /announce, /put, /get) and other requests that were answered like these.
    calls: float
    queries_in: float
    queries_out: float


@attrs.frozen
class StateFile:
    """The state file."""

    file: str
    #: How long ago something was committed to it, at least each 10 s; None: not since the start.
    last_commit: float | None
    #: Why it cannot be written now; None while it can.
    problem: str | None


@attrs.frozen
class Descriptors:
    """The descriptors of the process: files, sockets and pipes."""

    #: Those that are open; None where the system does not tell.
    open: int | None
    #: How many may be open (RLIMIT_NOFILE, the soft limit); None: as many as there are.
    limit: int | None


@attrs.frozen
class Connections:
    """The connections to the HTTP API."""

    open: int
    #: Above it an idle one is closed for each new one: ``max_connections``, or fewer with few descriptors.
    limit: int


@attrs.frozen
class Status:
    """A snapshot of a grape, in one object."""

    version: str
    #: "compiled" if its hot modules were compiled by mypyc, else "pure".
    build: str
    #: 40 hex digits.
    node_id: str
    readiness: Readiness
    #: Since the start; 0 while it does not run.
    uptime: float
    #: The "host:port" that the UDP socket is bound to, 0.0.0.0 for all addresses; None while it is closed.
    dht_address: str | None
    #: The "host:port" that the HTTP API listens on, [::] for all addresses; None without one or while it is closed.
    api_address: str | None
    #: The "host:port" under which other nodes know this one; None while that is not known.
    advertised: str | None
    contacts: Contacts
    #: Services (keys) with peers that are stored here.
    services: int
    #: Items stored here.
    items: int
    queries_in_flight: int
    per_second: PerSecond
    #: None: no state is kept.
    state: StateFile | None
    #: The nodes that it was given to join, each "host:port".
    bootstrap: list[str]
    #: How long it lists a peer that is announced once; 0: for ever.
    peer_max_age: float
    #: True if it answers no queries (BEP 43).
    read_only: bool
    #: Its wall clock, in seconds since 1970.
    time: float
    descriptors: Descriptors
    #: None without HTTP.
    connections: Connections | None
    #: How often each limit was hit since the start, by the name of its counter; those never hit are left out.
    limits_hit: dict[str, int]


@attrs.frozen
class NodeEntry:
    """A contact."""

    #: 40 hex digits.
    id: str
    #: "host:port".
    address: str
    #: In seconds, the least of the last eight; None before one was measured.
    round_trip: float | None
    #: How long ago it answered.
    last_heard: float
    #: "good" or "questionable".
    state: str


@attrs.frozen
class PeerEntry:
    """An instance of a service."""

    #: "host:port".
    address: str
    #: How long ago it was announced.
    age: float


@attrs.frozen
class ServiceEntry:
    """A service that is stored here."""

    #: The bytes of the key as text; a byte that is not UTF-8 is shown as ``\\xff``.
    name: str
    #: The same bytes in hex.
    key: str
    #: The number of its peers.
    peer_count: int
    #: Those announced last, newest first.
    peers: list[PeerEntry]


@attrs.frozen
class Page(Generic[T]):
    """Some of many entries, in an order that does not change: one that comes or goes moves no other."""

    entries: list[T]
    #: What to ask for as ``after`` to get the next page, in hex; None: this is the last one.
    next: str | None
    #: The number of all entries now.
    total: int


def node_entry(contact: Contact, now: float) -> NodeEntry:
    """Returns a contact as it is listed at ``now``."""
    host, port = contact.address
    return NodeEntry(
        contact.id.hex(),
        f"{host}:{port}",
        contact.round_trip if contact.round_trip > UNMEASURED_SECONDS else None,
        now - contact.heard_at,
        "good" if contact.is_good(now) else "questionable",
    )


def own_build() -> str:
    """Returns "compiled" if the hot modules of this grape were compiled by mypyc, else "pure"."""
    return "compiled" if nodeid.__file__.endswith(tuple(EXTENSION_SUFFIXES)) else "pure"


def own_descriptors() -> Descriptors:
    """Returns the descriptors of this process."""
    number = None
    for directory in DESCRIPTORS:
        with suppress(OSError):
            # One of them is that of the list.
            number = len(os.listdir(directory)) - 1
            break
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return Descriptors(number, None if limit == resource.RLIM_INFINITY else limit)
