"""Stores peers under keys and BEP 44 items for other nodes, in memory and within limits.

Every call takes ``now``, seconds on any steady clock. Answers always come from memory: a datagram never waits for a
disk.

Storage is shared fairly among hosts, and within a key and a host among *announcers*, the UDP addresses that announces
came from (a whole ring may run on one host). A host that floods a store evicts its own entries; a sample that cannot
hold all peers takes from each host in turn.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Iterator

from grape.config import DEFAULTS, Config
from grape.dht.compact import Address
from grape.dht.items import Item
from grape.dht.responder import Sample
from grape.fairshare import EvictionOrder, FairShares
from grape.metrics import Counters

MAX_KEYS = DEFAULTS.max_keys
MAX_PEERS_PER_KEY = DEFAULTS.max_peers_per_key
MAX_PEERS_PER_ANNOUNCER = DEFAULTS.max_peers_per_announcer
# With fewer peers a reply holds all of them: a key that shrinks below stops counting shares.
FEW_PEERS = 50
MAX_STORE_BYTES = DEFAULTS.max_store_bytes
MAX_ITEMS = DEFAULTS.dht_max_values
MAX_ITEM_BYTES = DEFAULTS.max_item_bytes

# About the memory that Python takes for a key, a peer and an item beside their own bytes.
KEY_OVERHEAD_BYTES = 900
PEER_OVERHEAD_BYTES = 900
ITEM_OVERHEAD_BYTES = 900

# The host of the items that this grape put itself.
OWN = ""


class _Key:
    """Holds the peers of one key in the order of their last announces, and the announcer that each counts for."""

    __slots__ = ("_fair_shares", "announcers", "by_age", "first_host", "name_bytes", "peers", "serial")

    def __init__(self, name_bytes: int, first_host: str) -> None:
        self.name_bytes = name_bytes
        self.first_host = first_host
        # For each peer: when it was announced, a serial number to tell equal times apart, its announcer.
        self.peers: dict[Address, tuple[float, int, Address]] = {}
        # (time, serial number, peer), sorted: a peer that is announced with an age belongs in the middle.
        self.by_age: list[tuple[float, int, Address]] = []
        self.serial = 0
        # For each announcer its peers, the one announced longest ago first.
        self.announcers: dict[Address, OrderedDict[Address, None]] = {}
        self._fair_shares: FairShares | None = None

    @property
    def fair_shares(self) -> FairShares:
        """The shares of hosts and announcers, counted from the first time that they are needed."""
        if self._fair_shares is None:
            self._fair_shares = FairShares(self.announcers)
        return self._fair_shares

    @property
    def bytes(self) -> int:
        """About the bytes that the key takes in memory, or in a state file, where each peer's row has the name."""
        return KEY_OVERHEAD_BYTES + (self.name_bytes + PEER_OVERHEAD_BYTES) * len(self.peers)

    def renew(self, peer: Address, known: tuple[float, int, Address], at: float) -> None:
        """Renews a peer, of which ``known`` is listed, as announced at the time ``at`` by the same announcer."""
        announcer = known[2]
        self.serial = serial = self.serial + 1
        del self.by_age[bisect_left(self.by_age, (known[0], known[1], peer))]
        insort(self.by_age, (at, serial, peer))
        self.peers[peer] = (at, serial, announcer)
        self.announcers[announcer].move_to_end(peer)

    def add(self, peer: Address, announcer: Address, at: float) -> None:
        """Adds a peer that ``announcer`` announced at the time ``at``, or that so far counts for another one."""
        known = self.peers.get(peer)
        if known is not None:
            # Two announce it: it counts for the one with fewer peers. Else an attacker who announced an honest peer
            # would have it evicted with a flood of its own.
            announcer = min(known[2], announcer, key=lambda by: len(self.announcers.get(by, ())))
            self.remove(peer)
        self.serial += 1
        self.peers[peer] = (at, self.serial, announcer)
        insort(self.by_age, (at, self.serial, peer))
        self.announcers.setdefault(announcer, OrderedDict())[peer] = None
        if self._fair_shares is not None:
            self._fair_shares.add(announcer)

    def remove(self, peer: Address) -> None:
        """Removes a peer that the key has."""
        at, serial, announcer = self.peers.pop(peer)
        del self.by_age[bisect_left(self.by_age, (at, serial, peer))]
        share = self.announcers[announcer]
        del share[peer]
        if not share:
            del self.announcers[announcer]
        if self._fair_shares is not None:
            self._fair_shares.remove(announcer)
            if len(self.peers) < FEW_PEERS:
                self._fair_shares = None

    def exceeds(self, announcer: Address, per_announcer: int) -> bool:
        """Returns True if an announcer has more than ``per_announcer`` peers of this key."""
        return len(self.announcers.get(announcer, ())) > per_announcer


class MemoryPeers:
    """Stores peers under keys (bytes of any length). A peer lives exactly ``max_age`` seconds after its last announce.

    ``max_age`` 0 is for ever. A key counts for the host that was the first to announce it. Above ``max_keys`` or
    ``max_bytes`` the key announced longest ago of the host that has most keys is evicted; of equal hosts the one
    gives that was longest neither announced for nor evicted from. Above ``max_peers_per_key`` the oldest peer of the
    largest announcer of the host that has most is evicted; of equals the last to come to that number gives.
    ``changed(key, peer)`` is called when a peer was added, renewed or removed.
    """

    def __init__(
        self,
        max_age: float,
        max_keys: int = MAX_KEYS,
        max_peers_per_key: int = MAX_PEERS_PER_KEY,
        max_peers_per_announcer: int = MAX_PEERS_PER_ANNOUNCER,
        max_bytes: int = MAX_STORE_BYTES,
        changed: Callable[[bytes, Address], object] | None = None,
        counters: Counters | None = None,
    ) -> None:
        self.counters = counters if counters is not None else Counters()
        self._changed = changed
        self._max_age = max_age or math.inf
        self._max_keys = max_keys
        self._max_peers = max_peers_per_key
        self._max_share = max_peers_per_announcer
        self._max_bytes = max_bytes
        #: About the memory that all take together.
        self.used_bytes = 0
        self._keys: dict[bytes, _Key] = {}
        self._order = EvictionOrder()
        #: Called for each announce with key, peer, announcer (None: this grape) and age, and for each peer that becomes
        #: too old with key, peer and the announcer that it counted for. None: nobody wants to know.
        self.on_announce: Callable[[bytes, Address, Address | None, float], object] | None = None
        self.on_expiry: Callable[[bytes, Address, Address], object] | None = None

    def set_limits(self, config: Config) -> None:
        """Takes the limits of a config; what is too much is evicted at once."""
        self._max_keys, self._max_bytes = config.max_keys, config.max_store_bytes
        self._max_peers, self._max_share = config.max_peers_per_key, config.max_peers_per_announcer
        for key, entry in self._keys.items():
            before = entry.bytes
            for announcer in [by for by in entry.announcers if entry.exceeds(by, self._max_share)]:
                while entry.exceeds(announcer, self._max_share):
                    self.counters.evicted_peers_of_announcer += 1
                    self._evict_peer(key, entry, announcer)
            while len(entry.peers) > self._max_peers:
                self._evict_peer(key, entry, entry.fair_shares.largest())
            self.used_bytes += entry.bytes - before
        self._evict_keys()

    def __len__(self) -> int:
        """Returns the number of keys."""
        return len(self._keys)

    @property
    def peer_count(self) -> int:
        """The number of the peers of all keys; takes 0.05 us for each key."""
        return sum(len(entry.peers) for entry in self._keys.values())

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._keys)

    def announce(
        self, key: bytes, peer: Address, now: float, announcer: Address | None = None, age: float = 0.0
    ) -> None:
        """Stores or renews ``peer`` under ``key``.

        ``announcer`` is the address that the announce came from, by default the peer's own. ``age`` is how many
        seconds ago the peer was announced: it does not make a peer older than it is known to be.
        """
        if age >= self._max_age:
            return
        told_by, announcer = announcer, peer if announcer is None else announcer
        at = now - age
        entry = self._keys.get(key)
        if entry is None:
            entry = self._keys[key] = _Key(len(key), announcer[0])
            self.used_bytes += entry.bytes
            self._order.add(entry.first_host, key)
        else:
            self._order.touch(entry.first_host, key)
        known = entry.peers.get(peer)
        if known is None or not age or known[0] < at:
            if known is not None and known[2] == announcer:
                # Most announces renew: nothing grows, so that nothing has to be evicted.
                entry.renew(peer, known, at)
            else:
                self._add(key, entry, peer, announcer, at)
            if self._changed is not None:
                self._changed(key, peer)
        if self.on_announce is not None:
            self.on_announce(key, peer, told_by, age)

    def remove(self, key: bytes, peer: Address) -> None:
        """Removes ``peer`` under ``key``, if it is stored."""
        entry = self._keys.get(key)
        if entry is None or peer not in entry.peers:
            return
        self.used_bytes -= entry.bytes
        if len(entry.peers) == 1:
            self._drop(key)
            return
        entry.remove(peer)
        self.used_bytes += entry.bytes
        if self._changed is not None:
            self._changed(key, peer)

    def known(self, key: bytes, peer: Address) -> tuple[float, Address] | None:
        """Returns when a peer was last announced and the announcer that it counts for; None if it is not stored."""
        entry = self._keys.get(key)
        known = entry.peers.get(peer) if entry is not None else None
        return (known[0], known[2]) if known is not None else None

    def all(self) -> Iterator[tuple[bytes, Address]]:
        """Yields every key with each of its peers, expired ones too until ``expire`` drops them."""
        for key, entry in list(self._keys.items()):
            for peer in list(entry.peers):
                yield key, peer

    def peers(self, key: bytes, now: float) -> list[Address]:
        """Returns the live peers of ``key``, the one announced longest ago first."""
        entry = self._live(key, now)
        return [peer for _, _, peer in entry.by_age] if entry is not None else []

    def sample(self, key: bytes, count: int, now: float, sample: Sample) -> list[Address]:
        """Draws at most ``count`` live peers of ``key``, in random order, by ``sample(population, count)``.

        If there are more, no host has a second peer drawn before every host had one, nor does an announcer within
        its host.
        """
        entry = self._live(key, now)
        if entry is None:
            return []
        if len(entry.peers) <= count:
            peers = list(entry.peers)
            return peers if len(peers) == 1 else sample(peers, len(peers))
        return entry.fair_shares.draw(count, entry.announcers, sample)

    def expire(self, now: float) -> None:
        """Drops expired peers to free their memory; ``peers`` and ``sample`` never return them."""
        for key in list(self._keys):
            self._live(key, now)

    def _add(self, key: bytes, entry: _Key, peer: Address, announcer: Address, at: float) -> None:
        """Adds a peer to a key, and evicts what is too much then: at most one of its peers."""
        before = entry.bytes
        entry.add(peer, announcer, at)
        if entry.exceeds(announcer, self._max_share):
            self.counters.evicted_peers_of_announcer += 1
            self._evict_peer(key, entry, announcer)
        elif len(entry.peers) > self._max_peers:
            self._evict_peer(key, entry, entry.fair_shares.largest())
        self.used_bytes += entry.bytes - before
        self._evict_keys()

    def _evict_keys(self) -> None:
        while len(self._keys) > self._max_keys or (self.used_bytes > self._max_bytes and len(self._keys) > 1):
            self.used_bytes -= self._drop(self._order.first()).bytes
            self.counters.evicted_keys += 1

    def _evict_peer(self, key: bytes, entry: _Key, announcer: Address) -> None:
        gone = next(iter(entry.announcers[announcer]))
        entry.remove(gone)
        self.counters.evicted_peers += 1
        if self._changed is not None:
            self._changed(key, gone)

    def _live(self, key: bytes, now: float) -> _Key | None:
        entry = self._keys.get(key)
        if entry is None or now - entry.by_age[0][0] < self._max_age:
            return entry
        self.used_bytes -= entry.bytes
        while entry.by_age:
            at, _, peer = entry.by_age[0]
            if now - at < self._max_age:
                self.used_bytes += entry.bytes
                return entry
            if self.on_expiry is not None:
                self.on_expiry(key, peer, entry.peers[peer][2])
            entry.remove(peer)
            if self._changed is not None:
                self._changed(key, peer)
        self._drop(key)
        return None

    def _drop(self, key: bytes) -> _Key:
        entry = self._keys.pop(key)
        if self._changed is not None:
            for peer in entry.peers:
                self._changed(key, peer)
        self._order.remove(entry.first_host, key)
        return entry


class MemoryItems:
    """Stores BEP 44 items by target. They do not expire.

    An item counts for the host that put it first, or for this grape itself (OWN). Above ``max_items`` or
    ``max_bytes`` the least recently used item of the host that has most is evicted; of equal hosts the one gives that
    was longest neither used nor evicted from. Of this grape's own items one is evicted only while they are more than
    half of all. ``changed(target)`` is called when an item was added, replaced or evicted.
    """

    def __init__(
        self,
        max_items: int = MAX_ITEMS,
        max_bytes: int = MAX_ITEM_BYTES,
        changed: Callable[[bytes], object] | None = None,
        counters: Counters | None = None,
    ) -> None:
        self.counters = counters if counters is not None else Counters()
        self._changed = changed
        self._max_items = max_items
        self._max_bytes = max_bytes
        #: About the memory that all take together.
        self.used_bytes = 0
        # For each target its item and the host that it counts for.
        self._items: dict[bytes, tuple[Item, str]] = {}
        self._others = EvictionOrder()
        self._own = EvictionOrder()

    def __len__(self) -> int:
        """Returns the number of items."""
        return len(self._items)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._items)

    def set_limits(self, config: Config) -> None:
        """Takes the limits of a config; what is too much is evicted at once."""
        self._max_items, self._max_bytes = config.dht_max_values, config.max_item_bytes
        self._evict_surplus()

    def get(self, target: bytes) -> Item | None:
        """Returns the item under ``target``, or None; counts as use."""
        known = self._items.get(target)
        if known is None:
            return None
        item, host = known
        self._order(host).touch(host, target)
        return item

    def peek(self, target: bytes) -> tuple[Item, str] | None:
        """Returns the item under ``target`` and the host that it counts for, or None; does not count as use."""
        return self._items.get(target)

    def put(self, item: Item, host: str = OWN) -> None:
        """Stores ``item`` in place of what its target held; the caller checks that it may.

        ``host`` is the IP address that it came from, or OWN. An item counts for the host that put it first, whoever
        puts it again: else a host could evict another's item with a flood of its own. What this grape puts becomes
        its own.
        """
        target = item.target
        known = self._items.pop(target, None)
        if known is not None:
            old, old_host = known
            self._order(old_host).remove(old_host, target)
            self.used_bytes -= _item_bytes(old)
            host = OWN if host == OWN else old_host
        self._items[target] = item, host
        self._order(host).add(host, target)
        self.used_bytes += _item_bytes(item)
        if known != (item, host) and self._changed is not None:
            self._changed(target)
        self._evict_surplus()

    def _evict_surplus(self) -> None:
        while len(self._items) > self._max_items or self.used_bytes > self._max_bytes:
            # A busy client of this grape does not keep it from serving others.
            order = self._own if 2 * len(self._own) > len(self._items) else self._others
            target = order.first()
            item, host = self._items.pop(target)
            order.remove(host, target)
            self.used_bytes -= _item_bytes(item)
            self.counters.evicted_items += 1
            if self._changed is not None:
                self._changed(target)

    def _order(self, host: str) -> EvictionOrder:
        return self._own if host == OWN else self._others


def _item_bytes(item: Item) -> int:
    """Returns about the bytes of memory that an item takes."""
    return ITEM_OVERHEAD_BYTES + len(item.raw) + len(item.key or b"") + len(item.signature) + len(item.salt)
