"""What is kept for others: peers announced under a key, and items. Contracts, and the versions in memory.

Every call takes ``now``, seconds on any steady clock. The serving copy is always in memory: answering a datagram
never waits for a disk.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from grape.dht.compact import Address
from grape.dht.items import Item

MAX_KEYS = 10_000
MAX_PEERS_PER_KEY = 10_000
MAX_ITEMS = 5_000


class MemoryPeers:
    """Peers announced under keys. A peer lives exactly ``max_age`` seconds after its last announce (0: for ever).

    When there are more than ``max_keys`` keys the one announced longest ago goes; likewise the peer of a key.
    """

    def __init__(self, max_age: float, max_keys: int = MAX_KEYS, max_peers_per_key: int = MAX_PEERS_PER_KEY) -> None:
        self._max_age = max_age
        self._max_keys = max_keys
        self._max_peers = max_peers_per_key
        # For each key its peers and when they were last announced, the oldest first; keys likewise.
        self._keys: OrderedDict[bytes, OrderedDict[Address, float]] = OrderedDict()

    def __len__(self) -> int:
        """How many keys there are."""
        return len(self._keys)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._keys)

    def announce(self, key: bytes, peer: Address, now: float) -> None:
        """Keep ``peer`` under ``key`` from ``now`` on."""
        peers = self._keys.get(key)
        if peers is None:
            peers = self._keys[key] = OrderedDict()
        peers[peer] = now
        peers.move_to_end(peer)
        self._keys.move_to_end(key)
        if len(peers) > self._max_peers:
            peers.popitem(last=False)
        if len(self._keys) > self._max_keys:
            self._keys.popitem(last=False)

    def peers(self, key: bytes, now: float) -> list[Address]:
        """The live peers of ``key``, the longest unheard first."""
        peers = self._keys.get(key)
        if peers is None:
            return []
        self._expire(peers, now)
        if not peers:
            del self._keys[key]
        return list(peers)

    def expire(self, now: float) -> None:
        """Drop what is too old: for memory's sake; ``peers`` never returns it anyway."""
        for key in list(self._keys):
            self.peers(key, now)

    def _expire(self, peers: OrderedDict[Address, float], now: float) -> None:
        if self._max_age:
            while peers:
                peer = next(iter(peers))
                if now - peers[peer] < self._max_age:
                    break
                del peers[peer]


class MemoryItems:
    """Items by target. Beyond ``max_items`` the one longest unused goes, as the reference does; age is no limit."""

    def __init__(self, max_items: int = MAX_ITEMS) -> None:
        self._max_items = max_items
        self._items: OrderedDict[bytes, Item] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, target: bytes) -> Item | None:
        """The item under ``target``; asking for it counts as use."""
        item = self._items.get(target)
        if item is not None:
            self._items.move_to_end(target)
        return item

    def put(self, item: Item) -> None:
        """Keep ``item``, in place of what its target held. Whether it may is the caller's to check."""
        target = item.target
        self._items[target] = item
        self._items.move_to_end(target)
        if len(self._items) > self._max_items:
            self._items.popitem(last=False)
