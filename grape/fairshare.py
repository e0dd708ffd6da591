"""Shares storage fairly among hosts: counts what each has stored, picks who gives when full, draws samples in turn.

No call scans all hosts: a sender that fills a store may also query it and announce again without end, and each call
has to stay cheap.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Iterator, Mapping
from itertools import chain, islice
from typing import Generic, TypeVar

from grape.dht.compact import Address
from grape.dht.responder import Sample

K = TypeVar("K")

MAX_START = 1 << 30

# For each announcer the peers that it announced.
Shares = Mapping[Address, Collection[Address]]


class ShareCounts(Generic[K]):
    """Counts what each member has and finds a largest one in constant time.

    A member with a count of 0 is not listed. Iteration is over the members, in any order.
    """

    __slots__ = ("_counts", "_levels", "_most")

    def __init__(self) -> None:
        self._counts: dict[K, int] = {}
        # For each count the members that have it, the one that came to it or was touched last at the end. Ordered
        # dictionaries: a plain one is searched from its first slot on after thousands of deletions at its front.
        self._levels: dict[int, OrderedDict[K, None]] = {}
        self._most = 0

    def __len__(self) -> int:
        return len(self._counts)

    def __iter__(self) -> Iterator[K]:
        return iter(self._counts)

    def __getitem__(self, member: K) -> int:
        return self._counts.get(member, 0)

    def add(self, member: K, number: int = 1) -> None:
        """Adds ``number``, at least 1, to the member's count."""
        count = self._counts.get(member, 0)
        if count:
            self._leave(member, count)
        self._enter(member, count + number)

    def remove(self, member: K) -> None:
        """Takes 1 from the member's count, which is at least 1."""
        count = self._counts.pop(member)
        self._leave(member, count)
        if count > 1:
            self._enter(member, count - 1)
        if self._most not in self._levels:
            self._most -= 1

    def touch(self, member: K) -> None:
        """Makes a listed member the latest of those with its count."""
        self._levels[self._counts[member]].move_to_end(member)

    def latest_largest(self) -> K:
        """Returns the member with the highest count; of equals the one that came to it, or was touched, last."""
        return next(reversed(self._levels[self._most]))

    def earliest_largest(self) -> K:
        """Returns the member with the highest count; of equals the one that came to it, or was touched, first."""
        return next(iter(self._levels[self._most]))

    def _enter(self, member: K, count: int) -> None:
        self._counts[member] = count
        level = self._levels.get(count)
        if level is None:
            level = self._levels[count] = OrderedDict()
        level[member] = None
        if count > self._most:
            self._most = count

    def _leave(self, member: K, count: int) -> None:
        level = self._levels[count]
        del level[member]
        if not level:
            del self._levels[count]


class EvictionOrder:
    """Names the key to evict: the least recently used one of the host that has most keys.

    Of hosts with equally many keys the one gives that was longest neither used nor had a key removed. Giving counts
    as a turn, so that equal hosts give in turn; a sender gains nothing by it, as one more use does the same.
    """

    __slots__ = ("_counts", "_keys", "_size")

    def __init__(self) -> None:
        self._counts: ShareCounts[str] = ShareCounts()
        # For each host its keys, the least recently used first; no host's are empty.
        self._keys: dict[str, OrderedDict[bytes, None]] = {}
        self._size = 0

    def __len__(self) -> int:
        """Returns the number of keys of all hosts."""
        return self._size

    def add(self, host: str, key: bytes) -> None:
        """Adds a key that no host has, as the host's latest."""
        keys = self._keys.get(host)
        if keys is None:
            keys = self._keys[host] = OrderedDict()
        keys[key] = None
        self._counts.add(host)
        self._size += 1

    def touch(self, host: str, key: bytes) -> None:
        """Takes note that the key, which ``host`` has, is used now."""
        self._keys[host].move_to_end(key)
        self._counts.touch(host)

    def remove(self, host: str, key: bytes) -> None:
        """Removes a key that ``host`` has."""
        keys = self._keys[host]
        del keys[key]
        if not keys:
            del self._keys[host]
        self._counts.remove(host)
        self._size -= 1

    def first(self) -> bytes:
        """Returns the key to evict next; there must be one."""
        return next(iter(self._keys[self._counts.earliest_largest()]))


class FairShares:
    """Counts a key's peers by host and announcer; says which announcer gives, and draws samples.

    Told of each peer that is added or removed. An announcer is the UDP address that an announce came from.
    """

    def __init__(self, shares: Shares) -> None:
        self._hosts: ShareCounts[str] = ShareCounts()
        # The only announcer of a host, or the counts of several: most hosts have one, and a ShareCounts each for
        # thousands of hosts would be felt.
        self._announcers: dict[str, Address | ShareCounts[Address]] = {}
        for announcer, peers in shares.items():
            for _ in peers:
                self.add(announcer)

    def add(self, announcer: Address) -> None:
        """Counts one more peer for the announcer."""
        host = announcer[0]
        known = self._announcers.setdefault(host, announcer)
        if isinstance(known, ShareCounts):
            known.add(announcer)
        elif known != announcer:
            counts: ShareCounts[Address] = ShareCounts()
            counts.add(known, self._hosts[host])
            counts.add(announcer)
            self._announcers[host] = counts
        self._hosts.add(host)

    def remove(self, announcer: Address) -> None:
        """Counts one peer less for the announcer, which has at least one."""
        host = announcer[0]
        self._hosts.remove(host)
        known = self._announcers[host]
        if isinstance(known, ShareCounts):
            known.remove(announcer)
        if not self._hosts[host]:
            del self._announcers[host]

    def largest(self) -> Address:
        """Returns the largest announcer of the host that has most peers: it gives one when the key is full.

        Of equals the last to come to that number gives: newcomers do not displace peers that are there.
        """
        known = self._announcers[self._hosts.latest_largest()]
        return known.latest_largest() if isinstance(known, ShareCounts) else known

    def draw(self, count: int, shares: Shares, sample: Sample) -> list[Address]:
        """Draws ``count`` of more peers, in random order.

        ``shares`` has the same announcers as this. No host has a second peer drawn before every host had one, nor
        does an announcer within its host.
        """
        hosts = list(self._hosts)
        # One random number rotates every host's announcers: to shuffle thousands of them would cost a millisecond.
        start = sample(range(MAX_START), 1)[0]
        waiting = deque(self._peers_of(host, shares, start) for host in sample(hosts, min(count, len(hosts))))
        chosen: list[Address] = []
        while len(chosen) < count:
            peers = waiting.popleft()
            for peer in peers:
                chosen.append(peer)
                waiting.append(peers)
                break
        return chosen if len(hosts) >= count else sample(chosen, count)

    def _peers_of(self, host: str, shares: Shares, start: int) -> Iterator[Address]:
        """Yields the host's peers: one of each of its announcers, then second ones, and so on."""
        known = self._announcers[host]
        announcers = list(known) if isinstance(known, ShareCounts) else [known]
        round_number, first = divmod(start, len(announcers))
        more: deque[Iterator[Address]] = deque()
        for number in range(len(announcers)):
            share = shares[announcers[(first + number) % len(announcers)]]
            peers = _rotated(share, round_number)
            yield next(peers)
            if len(share) > 1:
                more.append(peers)
        while more:
            peers = more.popleft()
            for peer in peers:
                yield peer
                more.append(peers)
                break


def _rotated(peers: Collection[Address], number: int) -> Iterator[Address]:
    """Iterates over the peers, beginning with another one for each number."""
    if len(peers) == 1:
        return iter(peers)
    first = number % len(peers)
    # Of many peers few are drawn: a list of all would take three times as long.
    return chain(islice(peers, first, None), islice(peers, first))
