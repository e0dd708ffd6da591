"""Keeps withdrawals of peers: which peer of which key was withdrawn, and when, for one peer age.

The later of announce and withdrawal counts, by the age that each carries (docs/decisions/0012-withdrawal.md). Every
call takes ``now``, seconds on any steady clock. Storage is shared fairly among the hosts of the withdrawn peers; those
of services that were announced through this node have the host OWN in place of an address, and are bounded by their
caller.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from grape.dht.compact import PEER_BYTES, Address, decode_peer, encode_peer

# The host of a peer of this node, whatever its address is.
OWN = ""
# About the memory that Python takes for a withdrawal beside the bytes of its key.
WITHDRAWAL_OVERHEAD_BYTES = 700
MAX_WITHDRAWALS = 10_000
MAX_WITHDRAWAL_BYTES = 8 * 1024 * 1024


class StoredPeers(Protocol):
    """Stores the peers that withdrawals remove."""

    def known(self, key: bytes, peer: Address) -> tuple[float, Address] | None:
        """Returns when a peer was last announced and by whom; None if it is not stored."""

    def remove(self, key: bytes, peer: Address) -> None:
        """Removes a peer, if it is stored."""


class Order(Protocol):
    """Names the entry to evict when hosts have too many of them: one of the host that has most."""

    def __len__(self) -> int: ...

    def add(self, host: str, key: bytes) -> None:
        """Adds an entry, as the host's latest."""

    def touch(self, host: str, key: bytes) -> None:
        """Makes an entry the host's latest."""

    def remove(self, host: str, key: bytes) -> None:
        """Removes an entry."""

    def first(self) -> bytes:
        """Returns the entry to evict next; there must be one."""


class Withdrawals:
    """The withdrawals of the last ``max_age`` seconds (0: of all times) that are not followed by an announce.

    ``peers`` is the store that they remove peers from; ``order`` decides whose is evicted above ``max_size`` entries or
    ``max_bytes``. ``changed(key, peer)`` is called when one was added, renewed or removed.
    """

    def __init__(
        self,
        max_age: float,
        peers: StoredPeers,
        order: Order,
        max_size: int = MAX_WITHDRAWALS,
        max_bytes: int = MAX_WITHDRAWAL_BYTES,
        changed: Callable[[bytes, Address], object] = lambda key, peer: None,
    ) -> None:
        self._max_age = max_age or math.inf
        self._peers = peers
        self._order = order
        self._max_size = max_size
        self._max_bytes = max_bytes
        self._changed = changed
        self._bytes = 0
        #: For each key its withdrawn peers and when each was withdrawn; for reading, and one object for ever: whoever
        #: has hot paths keeps it, and calls no method while it is empty.
        self.entries: dict[bytes, dict[Address, float]] = {}
        #: How many were taken, and evicted, since this was made.
        self.taken = self.evicted = 0
        #: Returns True for a host that is an address of this node.
        self.is_own: Callable[[str], bool] = lambda host: False
        #: Called with each withdrawal that was taken: key, peer, and when it was made.
        self.on_withdrawal: Callable[[bytes, Address, float], object] = lambda key, peer, at: None
        #: If not None, called with each withdrawal that was taken from a node: key, peer, that node, and its age.
        self.on_query: Callable[[bytes, Address, Address, float], object] | None = None
        #: Called with each withdrawal that has ended or was evicted.
        self.on_end: Callable[[bytes, Address], object] = lambda key, peer: None

    def __len__(self) -> int:
        """Returns the number of withdrawals."""
        return sum(map(len, self.entries.values()))

    def set_limits(self, max_size: int, max_bytes: int) -> None:
        """Sets the limits; what is too much is evicted at once."""
        self._max_size, self._max_bytes = max_size, max_bytes
        self._evict_surplus()

    def withdraw(self, key: bytes, peer: Address, now: float, age: float = 0.0, sender: Address | None = None) -> bool:
        """Withdraws a peer as of ``age`` seconds ago, and removes it from the store.

        Returns False, and does nothing, if a newer announce is stored, if it was withdrawn then or later already, or if
        that is too long ago. ``peer`` has the host OWN for a service that was announced through this node;
        ``sender`` is the node that sent the query, if one did.
        """
        at = now - age
        stored = self._peers.known(key, peer) if peer[0] != OWN else None
        earlier = self.entries.get(key, {}).get(peer, -math.inf)
        if age >= self._max_age or at <= earlier or (stored is not None and stored[0] > at):
            return False
        self._keep(key, peer, at)
        if stored is not None:
            self._peers.remove(key, peer)
        self.taken += 1
        self._changed(key, peer)
        self.on_withdrawal(key, peer, at)
        if sender is not None and self.on_query is not None:
            self.on_query(key, peer, sender, age)
        self._evict_surplus()
        return True

    def refuses(self, key: bytes, peer: Address, now: float, made_ago: float) -> bool:
        """Returns True if an announce made ``made_ago`` seconds ago is not newer than a withdrawal of its peer.

        Otherwise the withdrawal ends. An announce made 0 s ago is always newer.
        """
        withdrawn = self.entries.get(key)
        if withdrawn is None:
            return False
        peers = (peer, (OWN, peer[1])) if self.is_own(peer[0]) else (peer,)
        if made_ago:
            made_at = now - made_ago
            for one in peers:
                at = withdrawn.get(one)
                if at is not None and now - at < self._max_age and made_at <= at:
                    return True
        for one in peers:
            self.end(key, one)
        return False

    def hidden(self, key: bytes, peers: Iterable[Address], now: float) -> list[Address]:
        """Returns those of ``peers``, found by a lookup of ``key``, that are withdrawn."""
        withdrawn = self.entries.get(key)
        if withdrawn is None:
            return []
        since = now - self._max_age
        return [
            peer
            for peer in peers
            if withdrawn.get(peer, since) > since
            or (withdrawn.get((OWN, peer[1]), since) > since and self.is_own(peer[0]))
        ]

    def at(self, key: bytes, peer: Address) -> float | None:
        """Returns when a peer was withdrawn; None if it is not."""
        return self.entries.get(key, {}).get(peer)

    def all(self) -> Iterator[tuple[bytes, Address]]:
        """Yields every key with each of its withdrawn peers."""
        for key, withdrawn in list(self.entries.items()):
            for peer in list(withdrawn):
                yield key, peer

    def end(self, key: bytes, peer: Address) -> None:
        """Ends a withdrawal, if there is one."""
        withdrawn = self.entries.get(key)
        if withdrawn is None or peer not in withdrawn:
            return
        del withdrawn[peer]
        if not withdrawn:
            del self.entries[key]
        if peer[0] != OWN:
            self._order.remove(peer[0], _name(key, peer))
            self._bytes -= _size(key)
        self._changed(key, peer)
        self.on_end(key, peer)

    def expire(self, now: float) -> None:
        """Ends the withdrawals that are too old; until then they have no effect."""
        for key, peer in self.all():
            if now - self.entries[key][peer] >= self._max_age:
                self.end(key, peer)

    def _keep(self, key: bytes, peer: Address, at: float) -> None:
        withdrawn = self.entries.setdefault(key, {})
        is_new = peer not in withdrawn
        withdrawn[peer] = at
        host = peer[0]
        if host == OWN:
            return
        if is_new:
            self._order.add(host, _name(key, peer))
            self._bytes += _size(key)
        else:
            self._order.touch(host, _name(key, peer))

    def _evict_surplus(self) -> None:
        while len(self._order) > self._max_size or self._bytes > self._max_bytes:
            name = self._order.first()
            self.evicted += 1
            self.end(name[:-PEER_BYTES], decode_peer(name[-PEER_BYTES:]))


def _name(key: bytes, peer: Address) -> bytes:
    """Returns the bytes by which the order of eviction knows a withdrawal."""
    return key + encode_peer(peer)


def _size(key: bytes) -> int:
    """Returns about the bytes of memory that a withdrawal takes: the key is there twice."""
    return WITHDRAWAL_OVERHEAD_BYTES + 2 * len(key)
