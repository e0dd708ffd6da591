"""Reads the documents that a grape tells of itself (/status, /nodes, /services, /trace/...), and types them.

A document is checked before it is used: one of another version of the grape is an error, and no traceback.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Generic, TypedDict, TypeVar, cast, get_args, get_origin, get_type_hints, is_typeddict
from urllib.parse import urlencode

import attrs

from grape.client.blocking import Link
from grape.client.errors import AnswerError

T = TypeVar("T")

# The most that a grape gives at once.
MAX_PAGE = 1_000


class Check(TypedDict):
    """One thing that a grape needs."""

    name: str
    state: str
    text: str


class Readiness(TypedDict):
    """States whether a grape should be given work, in a word, and what was checked."""

    is_ready: bool
    status: str
    checks: list[Check]


class Contacts(TypedDict):
    """Numbers of contacts."""

    good: int
    questionable: int


class PerSecond(TypedDict):
    """How often things happen in a second."""

    calls: float
    queries_in: float
    queries_out: float


class StateFile(TypedDict):
    """The state file; ``last_commit`` in seconds ago."""

    file: str
    last_commit: float | None
    problem: str | None


class Status(TypedDict):
    """The document /status."""

    version: str
    node_id: str
    readiness: Readiness
    uptime: float
    dht_address: str | None
    api_address: str | None
    advertised: str | None
    contacts: Contacts
    services: int
    items: int
    queries_in_flight: int
    per_second: PerSecond
    state: StateFile | None


class NodeEntry(TypedDict):
    """An entry of /nodes; times in seconds."""

    id: str
    address: str
    round_trip: float | None
    last_heard: float
    state: str


class NodesPage(TypedDict):
    """The document /nodes; ``next`` is what to ask for as ``after``, None on the last page."""

    nodes: list[NodeEntry]
    next: str | None
    total: int


class PeerEntry(TypedDict):
    """A peer of an entry of /services; ``age`` in seconds."""

    address: str
    age: float


class ServiceEntry(TypedDict):
    """An entry of /services; ``peers`` are those announced last."""

    name: str
    key: str
    peer_count: int
    peers: list[PeerEntry]


class ServicesPage(TypedDict):
    """The document /services, in pages as /nodes."""

    services: list[ServiceEntry]
    next: str | None
    total: int


class Step(TypedDict):
    """A node that a lookup asked; times in seconds since the lookup began."""

    address: str
    distance: int | None
    told_by: str | None
    state: str
    asked_at: float
    asked_again_at: float | None
    answered_at: float | None
    error: str | None
    nodes: int
    peers: list[str]
    seq: int | None


class Trace(TypedDict):
    """The documents /trace/lookup and /trace/get; ``seq`` is None unless an item was found."""

    seconds: float
    complete: bool
    steps: list[Step]
    peers: list[str]
    own_peers: list[str]
    seq: int | None


@attrs.frozen
class Listed(Generic[T]):
    """Holds the first entries of a list, and how many there are."""

    entries: list[T]
    total: int


def connect(urls: Sequence[str], timeout: float) -> Link:
    """Returns a link that keeps no lookups: a command shows what is true now. Raises ValueError for bad URLs."""
    return Link(urls, timeout=timeout, cache_seconds=0)


def read(link: Link, name: str, kind: type[T], parameters: Mapping[str, str | int] | None = None) -> T:
    """Returns the document ``/name``, which has to be of ``kind``. Raises GrapeError."""
    document = link.read(f"/{name}?{urlencode(parameters)}" if parameters else f"/{name}")
    if not fits(document, kind):
        raise AnswerError(f"/{name} is not as this command knows it: the grape is of another version")
    return cast("T", document)


def status(link: Link) -> Status:
    """Returns what the grape is and does. Raises GrapeError."""
    return read(link, "status", Status)


def nodes(link: Link, limit: int) -> Listed[NodeEntry]:
    """Returns at most ``limit`` contacts of the grape. Raises GrapeError."""

    def page(query: Mapping[str, str | int]) -> tuple[list[NodeEntry], str | None, int]:
        told = read(link, "nodes", NodesPage, query)
        return told["nodes"], told["next"], told["total"]

    return _pages(page, limit)


def services(link: Link, limit: int, name: str | None = None) -> Listed[ServiceEntry]:
    """Returns at most ``limit`` services that the grape holds, or the one with a name. Raises GrapeError."""

    def page(query: Mapping[str, str | int]) -> tuple[list[ServiceEntry], str | None, int]:
        told = read(link, "services", ServicesPage, query if name is None else {**query, "name": name})
        return told["services"], told["next"], told["total"]

    return _pages(page, limit)


def trace_of_service(link: Link, name: str) -> Trace:
    """Runs a lookup of a service, and returns how it went. Raises GrapeError."""
    return read(link, "trace/lookup", Trace, {"name": name})


def trace_of_item(link: Link, hash: str, salt: str | None) -> Trace:
    """Runs a lookup of an item, and returns how it went. Raises GrapeError."""
    return read(link, "trace/get", Trace, {"hash": hash, **({"salt": salt} if salt else {})})


def fits(value: object, kind: object) -> bool:
    """Returns True if a JSON value is of a kind: a TypedDict, list, union or plain type. Further keys do not matter."""
    if is_typeddict(kind):
        fields = _fields(cast("type", kind))
        return isinstance(value, dict) and all(key in value and fits(value[key], of) for key, of in fields.items())
    origin = get_origin(kind)
    if origin is UnionType:
        return any(fits(value, one) for one in get_args(kind))
    if origin is list:
        return isinstance(value, list) and all(fits(one, get_args(kind)[0]) for one in value)
    if kind in (None, NoneType):
        return value is None
    if kind in (int, float):
        return isinstance(value, int | float if kind is float else int) and not isinstance(value, bool)
    return isinstance(value, cast("type", kind))


@cache
def _fields(kind: type) -> dict[str, object]:
    return get_type_hints(kind)


def _pages(page: Callable[[Mapping[str, str | int]], tuple[list[T], str | None, int]], limit: int) -> Listed[T]:
    entries: list[T] = []
    query: dict[str, str | int] = {}
    while True:
        found, following, total = page({**query, "limit": min(MAX_PAGE, limit - len(entries))})
        entries += found
        if following is None or not found or len(entries) >= limit:
            return Listed(entries, total)
        query = {"after": following}
