"""What is kept for others: peers announced under a key, and items. Contracts, and the versions in memory.

Every call takes ``now``, seconds on any steady clock. The serving copy is always in memory: answering a datagram
never waits for a disk.

Room is shared fairly among hosts; that of a key, within a host, among *announcers*, the UDP addresses that announces
came from (a ring may live on one host). What one fills it empties itself, and a sample that has to leave some out
takes in turn.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Iterator

import attrs

from grape.dht.compact import Address
from grape.dht.items import Item
from grape.dht.responder import Sample
from grape.fairshare import FairShares

MAX_KEYS = 10_000
# A service rarely has more than some dozens of peers; 2,000 leaves room for a thousand hosts and as many intruders.
MAX_PEERS_PER_KEY = 2_000
# A grape announces for all services of its machine: as many under one name are more than a lookup ever lists.
MAX_PEERS_PER_ANNOUNCER = 128
# Below it nobody has to choose among a key's peers: a reply has room for all of them.
FEW_PEERS = 50
MAX_STORE_BYTES = 64 * 1024 * 1024
MAX_ITEMS = 5_000
MAX_ITEM_BYTES = 16 * 1024 * 1024

# What Python takes for a key, for a peer and for an item, about.
KEY_OVERHEAD_BYTES = 900
PEER_OVERHEAD_BYTES = 900
ITEM_OVERHEAD_BYTES = 900

# The host of what this grape put itself.
OWN = ""


class _Key:
    """The peers of one key: when each was last announced, and by whom."""

    __slots__ = ("_crowd", "announcers", "by_age", "first_host", "name_bytes", "peers", "serial")

    def __init__(self, name_bytes: int, first_host: str) -> None:
        self.name_bytes = name_bytes
        self.first_host = first_host
        # Of each its time, a number that parts those of the same time, and who announced it.
        self.peers: dict[Address, tuple[float, int, Address]] = {}
        # The same, sorted, the longest unheard first. One that is announced with an age belongs in the middle.
        self.by_age: list[tuple[float, int, Address]] = []
        self.serial = 0
        self.announcers: dict[Address, OrderedDict[Address, None]] = {}
        self._crowd: FairShares | None = None

    @property
    def crowd(self) -> FairShares:
        """The announcers, for who has to choose among them."""
        if self._crowd is None:
            self._crowd = FairShares(self.announcers)
        return self._crowd

    @property
    def bytes(self) -> int:
        """About how much room it takes, in memory or in a state file, where each peer's row has the name."""
        return KEY_OVERHEAD_BYTES + (self.name_bytes + PEER_OVERHEAD_BYTES) * len(self.peers)

    def add(self, peer: Address, announcer: Address, at: float) -> None:
        known = self.peers.get(peer)
        if known is not None and known[2] == announcer:
            self.serial += 1
            del self.by_age[bisect_left(self.by_age, (known[0], known[1], peer))]
            insort(self.by_age, (at, self.serial, peer))
            self.peers[peer] = (at, self.serial, announcer)
            self.announcers[announcer].move_to_end(peer)
            return
        if known is not None:
            # Two announce it: it counts for the one with fewer, so that nobody can draw it into a flood of his own.
            announcer = min(known[2], announcer, key=lambda by: len(self.announcers.get(by, ())))
        self.remove(peer)
        self.serial += 1
        self.peers[peer] = (at, self.serial, announcer)
        insort(self.by_age, (at, self.serial, peer))
        self.announcers.setdefault(announcer, OrderedDict())[peer] = None
        if self._crowd is not None:
            self._crowd.add(announcer)

    def remove(self, peer: Address) -> None:
        known = self.peers.pop(peer, None)
        if known is not None:
            at, serial, announcer = known
            del self.by_age[bisect_left(self.by_age, (at, serial, peer))]
            share = self.announcers[announcer]
            del share[peer]
            if not share:
                del self.announcers[announcer]
            if self._crowd is not None:
                self._crowd.remove(announcer)
                if len(self.peers) < FEW_PEERS:
                    self._crowd = None

    def shrink(self, announcer: Address, per_announcer: int, in_all: int) -> Address | None:
        """Drop the oldest of an announcer that has too many, or of the largest one. Which one went."""
        share = self.announcers.get(announcer, OrderedDict())
        gone: Address | None = None
        if len(share) > per_announcer:
            gone = next(iter(share))
            self.remove(gone)
            return gone
        if len(self.peers) > in_all:
            # Of the host that fills most its largest announcer, of equals the one that came last.
            gone = next(iter(self.announcers[self.crowd.largest()]))
            self.remove(gone)
        return gone


@attrs.define(slots=True)
class Evictions:
    """How much had to go for lack of room."""

    keys: int = 0
    peers: int = 0
    items: int = 0


class MemoryPeers:
    """Peers announced under keys. A peer lives exactly ``max_age`` seconds after its last announce (0: for ever).

    Beyond ``max_keys`` goes, of the host that brought most keys, the one announced longest ago; within a key the
    oldest peer of the largest announcer. ``changed(key, peer)`` is called when a peer came, was renewed or went.
    """

    def __init__(
        self,
        max_age: float,
        max_keys: int = MAX_KEYS,
        max_peers_per_key: int = MAX_PEERS_PER_KEY,
        max_peers_per_announcer: int = MAX_PEERS_PER_ANNOUNCER,
        max_bytes: int = MAX_STORE_BYTES,
        changed: Callable[[bytes, Address], object] | None = None,
    ) -> None:
        self.evictions = Evictions()
        self._changed = changed
        self._max_age = max_age or math.inf
        self._max_keys = max_keys
        self._max_peers = max_peers_per_key
        self._max_share = max_peers_per_announcer
        self._max_bytes = max_bytes
        self._bytes = 0
        self._keys: dict[bytes, _Key] = {}
        # For each host the keys that it was the first to announce, the one announced longest ago first.
        self._brought: dict[str, OrderedDict[bytes, None]] = {}

    def __len__(self) -> int:
        """How many keys there are."""
        return len(self._keys)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._keys)

    def announce(
        self, key: bytes, peer: Address, now: float, announcer: Address | None = None, age: float = 0.0
    ) -> None:
        """Keep ``peer`` under ``key`` from ``now`` on; ``announcer`` is who said so, by default the peer itself.

        ``age`` is how long ago it was announced, if that was not now: what is known to be younger stays.
        """
        if age >= self._max_age:
            return
        announcer = peer if announcer is None else announcer
        entry = self._keys.get(key)
        if entry is None:
            entry = self._keys[key] = _Key(len(key), announcer[0])
            self._brought.setdefault(announcer[0], OrderedDict())[key] = None
        else:
            self._bytes -= entry.bytes
            self._brought[entry.first_host].move_to_end(key)
        if not age or peer not in entry.peers or entry.peers[peer][0] < now - age:
            entry.add(peer, announcer, now - age)
            if self._changed is not None:
                self._changed(key, peer)
        gone = entry.shrink(announcer, self._max_share, self._max_peers)
        if gone is not None:
            self.evictions.peers += 1
            if self._changed is not None:
                self._changed(key, gone)
        self._bytes += entry.bytes
        while len(self._keys) > self._max_keys or (self._bytes > self._max_bytes and len(self._keys) > 1):
            largest: OrderedDict[bytes, None] = max(self._brought.values(), key=len)
            self._bytes -= self._drop(next(iter(largest))).bytes
            self.evictions.keys += 1

    def known(self, key: bytes, peer: Address) -> tuple[float, Address] | None:
        """When a peer was announced, and by whom."""
        entry = self._keys.get(key)
        known = entry.peers.get(peer) if entry is not None else None
        return (known[0], known[2]) if known is not None else None

    def all(self) -> Iterator[tuple[bytes, Address]]:
        """Every key with each of its peers."""
        for key, entry in list(self._keys.items()):
            for peer in list(entry.peers):
                yield key, peer

    def peers(self, key: bytes, now: float) -> list[Address]:
        """The live peers of ``key``, the longest unheard first."""
        entry = self._live(key, now)
        return [peer for _, _, peer in entry.by_age] if entry is not None else []

    def sample(self, key: bytes, count: int, now: float, sample: Sample) -> list[Address]:
        """At most ``count`` live peers of ``key``, in random order. ``sample(peers, count)`` draws.

        If there are more, every host has its turn before any has a second one, and so has every announcer of a host.
        """
        entry = self._live(key, now)
        if entry is None:
            return []
        if len(entry.peers) <= count:
            peers = list(entry.peers)
            return peers if len(peers) == 1 else sample(peers, len(peers))
        return entry.crowd.draw(count, entry.announcers, sample)

    def expire(self, now: float) -> None:
        """Drop what is too old: for memory's sake; nothing else ever returns it."""
        for key in list(self._keys):
            self._live(key, now)

    def _live(self, key: bytes, now: float) -> _Key | None:
        entry = self._keys.get(key)
        if entry is None or now - entry.by_age[0][0] < self._max_age:
            return entry
        self._bytes -= entry.bytes
        while entry.by_age:
            at, _, peer = entry.by_age[0]
            if now - at < self._max_age:
                self._bytes += entry.bytes
                return entry
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
        brought = self._brought[entry.first_host]
        del brought[key]
        if not brought:
            del self._brought[entry.first_host]
        return entry


class MemoryItems:
    """Items by target; age is no limit. Every item counts for the host that brought it, or for this grape itself.

    Beyond ``max_items`` or ``max_bytes`` goes, of the host that has most, the item longest unused; of equal hosts the
    one longest unused gives. This grape's own items go only while they are more than half of all.
    ``changed(target)`` is called when an item came or went.
    """

    def __init__(
        self,
        max_items: int = MAX_ITEMS,
        max_bytes: int = MAX_ITEM_BYTES,
        changed: Callable[[bytes], object] | None = None,
    ) -> None:
        self.evictions = Evictions()
        self._changed = changed
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._bytes = 0
        # For each target the host whose share it is in.
        self._hosts: dict[bytes, str] = {}
        # For each host its items, both the longest unused first; no host's share is empty.
        self._shares: OrderedDict[str, OrderedDict[bytes, Item]] = OrderedDict()
        self._own: OrderedDict[bytes, Item] = OrderedDict()

    def __len__(self) -> int:
        return len(self._hosts)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._hosts)

    def get(self, target: bytes) -> Item | None:
        """The item under ``target``; asking for it counts as use."""
        host = self._hosts.get(target)
        if host is None:
            return None
        share = self._share(host)
        share.move_to_end(target)
        return share[target]

    def peek(self, target: bytes) -> tuple[Item, str] | None:
        """The item under ``target`` and whose share it is in, without counting as use."""
        host = self._hosts.get(target)
        if host is None:
            return None
        return (self._own if host == OWN else self._shares[host])[target], host

    def put(self, item: Item, host: str = OWN) -> None:
        """Keep ``item``, in place of what its target held. Whether it may is the caller's to check.

        ``host`` is the IP address that it came from. It counts for the host that brought it first, whoever puts it
        again: else one could draw it into a flood of his own. What this grape puts itself becomes its own.
        """
        target = item.target
        is_known = False
        if target in self._hosts:
            host = OWN if host == OWN else self._hosts[target]
            is_known = self.peek(target) == (item, host)
            self._remove(target)
        self._hosts[target] = host
        self._share(host)[target] = item
        self._bytes += _item_bytes(item)
        if not is_known and self._changed is not None:
            self._changed(target)
        while len(self._hosts) > self._max_items or self._bytes > self._max_bytes:
            self._evict()

    def _share(self, host: str) -> OrderedDict[bytes, Item]:
        """The items of a host, which is used now."""
        if host == OWN:
            return self._own
        share = self._shares.setdefault(host, OrderedDict())
        self._shares.move_to_end(host)
        return share

    def _evict(self) -> None:
        # A busy client of this grape does not keep it from serving others.
        is_own = 2 * len(self._own) > len(self._hosts)
        largest = self._own if is_own else max(self._shares.values(), key=len)
        target = next(iter(largest))
        self._remove(target)
        self.evictions.items += 1
        if self._changed is not None:
            self._changed(target)

    def _remove(self, target: bytes) -> None:
        host = self._hosts.pop(target)
        share = self._own if host == OWN else self._shares[host]
        self._bytes -= _item_bytes(share.pop(target))
        if not share and host != OWN:
            del self._shares[host]


def _item_bytes(item: Item) -> int:
    """About how much memory an item takes."""
    return ITEM_OVERHEAD_BYTES + len(item.raw) + len(item.key or b"") + len(item.signature) + len(item.salt)
