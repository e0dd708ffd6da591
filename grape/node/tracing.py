"""Runs a lookup and tells how it went: which nodes were asked, in which order, and what each answered when."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred, maybeDeferred

from grape.dht.compact import Address
from grape.dht.items import Item
from grape.dht.nodeid import position
from grape.encoding import to_json
from grape.errors import GrapeError
from grape.krpc.tracing import Asked, Tracer
from grape.node.errors import raise_overloaded
from grape.node.items import Items, target_of
from grape.node.services import Services
from grape.protocol import DHTProtocol, ItemFound, PeersFound


@attrs.frozen
class Step:
    """A node that the lookup asked. Times are in seconds since the lookup began; None: it did not happen."""

    #: "host:port".
    address: str
    #: 40 hex digits; None: not known.
    id: str | None
    #: The bits of its distance to the key, 0 to 160: each one less is half as far. None: its id is not known.
    distance: int | None
    #: The "host:port" of the node that named it; None for one of the routing table, where the lookup began.
    told_by: str | None
    #: "answered"; "late" if the lookup went on without its answer for a while; "failed" with ``error``; "silent" if it
    #: did not answer in the usual time; "unawaited" if the lookup ended before that.
    state: str
    asked_at: float
    asked_again_at: float | None
    answered_at: float | None
    error: str | None
    #: How many nodes it named.
    nodes: int
    #: Each "host:port", in a lookup of a service.
    peers: list[str]
    #: The sequence number of the item that it gave, 0 for an immutable one.
    seq: int | None


@attrs.frozen
class LookupTrace:
    """How a lookup went."""

    #: What was looked for, in hex: the name's bytes, or the hash of an item.
    key: str
    #: How long it took, in seconds.
    seconds: float
    #: False if it was stopped before the nodes closest to the key had answered.
    complete: bool
    #: The nodes asked, in their order.
    steps: list[Step]
    #: What a lookup answers: each "host:port". Empty for an item.
    peers: list[str]
    #: Those of them that this grape holds itself.
    own_peers: list[str]
    #: The highest sequence number of the item that was found, 0 for an immutable one; None: none, or a service.
    seq: int | None
    #: The value of that item as JSON: text for strings and numbers. None without one.
    value: object = None


class LookupTracer:
    """Runs lookups of a node that are traced; ``socket()`` returns its protocol, or raises GrapeError."""

    def __init__(self, socket: Callable[[], DHTProtocol], services: Services, items: Items) -> None:
        self._socket = socket
        self._services = services
        self._items = items

    def lookup(self, name: str) -> Deferred[LookupTrace]:
        """Looks up a service as ``Node.lookup`` does, on its own even if an equal one is under way."""
        return maybeDeferred(self._look_up, name)

    def get(self, hash: str, salt: bytes = b"") -> Deferred[LookupTrace]:
        """Looks up an item as ``Node.get`` does, but always at other nodes; what is found is not stored here."""
        return maybeDeferred(self._get, hash, salt)

    def _look_up(self, name: str) -> Deferred[LookupTrace]:
        key = self._services.key(name)
        protocol = self._socket()
        tracer, own = _tracer(protocol, key), self._services.own_peers(key)

        def found(result: PeersFound) -> LookupTrace:
            seconds, steps = tracer.elapsed, _steps(key, tracer)
            peers = self._services.found(name, result.peers, result.lookup)
            return LookupTrace(key.hex(), seconds, result.lookup.complete, steps, peers, own, None)

        return protocol.get_peers(key, tracer).addCallbacks(found, raise_overloaded)

    def _get(self, hash: str, salt: bytes) -> Deferred[LookupTrace]:
        target = target_of(hash)
        protocol = self._socket()
        own = self._items.stored(target)
        if own is not None and own.key is not None:
            salt = own.salt
        tracer = _tracer(protocol, target, salt)

        def found(result: ItemFound) -> LookupTrace:
            seconds, steps = tracer.elapsed, _steps(target, tracer)
            best = max(
                (item for item in (result.item, own) if item is not None), key=lambda item: item.seq, default=None
            )
            seq, value = (best.seq, _json(best)) if best is not None else (None, None)
            return LookupTrace(hash, seconds, result.lookup.complete, steps, [], [], seq, value)

        return protocol.get(target, salt, own, network=tracer).addCallbacks(found, raise_overloaded)


def _json(item: Item) -> object:
    """Returns the value of an item as JSON. Raises GrapeError ERR_GRAPE_GENERIC if it is nested too deep."""
    try:
        return to_json(item.value)
    except ValueError as error:
        raise GrapeError("ERR_GRAPE_GENERIC") from error


def _tracer(protocol: DHTProtocol, key: bytes, salt: bytes = b"") -> Tracer:
    return Tracer(protocol.queries, {contact.address: contact.id for contact in protocol.table}, key, salt)


def _steps(key: bytes, tracer: Tracer) -> list[Step]:
    here = position(key)
    return [
        Step(
            address=_text(asked.address),
            id=asked.node_id.hex() if asked.node_id is not None else None,
            distance=(position(asked.node_id) ^ here).bit_length() if asked.node_id is not None else None,
            told_by=_text(asked.told_by) if asked.told_by is not None else None,
            state=_state(asked),
            asked_at=asked.asked_at,
            asked_again_at=asked.asked_again_at,
            answered_at=asked.answered_at,
            error=asked.error,
            nodes=asked.nodes,
            peers=[_text(peer) for peer in asked.peers],
            seq=asked.seq,
        )
        for asked in tracer.asked()
    ]


def _state(asked: Asked) -> str:
    if asked.answered_at is not None:
        return "late" if asked.is_slow else "answered"
    if asked.error is not None:
        return "failed"
    return "silent" if asked.is_slow else "unawaited"


def _text(address: Address) -> str:
    return f"{address[0]}:{address[1]}"
