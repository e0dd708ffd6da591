"""The announcers of a key that very many announce: who has most, and who has his turn, without looking at them all.

Whoever fills a key may also ask for it, or announce it again, as often as he likes: both must stay cheap.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import Generic, TypeVar

from grape.dht.compact import Address
from grape.dht.responder import Sample

K = TypeVar("K")

MAX_START = 1 << 30

Shares = Mapping[Address, Collection[Address]]


class ShareCounts(Generic[K]):
    """How much each member has; one with nothing is none. A collection of its members, in any order."""

    __slots__ = ("_counts", "_levels", "_most")

    def __init__(self) -> None:
        self._counts: dict[K, int] = {}
        # The members that have so much, the one that came to it last at the end.
        self._levels: dict[int, dict[K, None]] = {}
        self._most = 0

    def __len__(self) -> int:
        return len(self._counts)

    def __iter__(self) -> Iterator[K]:
        return iter(self._counts)

    def __getitem__(self, member: K) -> int:
        return self._counts.get(member, 0)

    def add(self, member: K, number: int = 1) -> None:
        """It has so much more."""
        count = self._counts.get(member, 0)
        if count:
            self._leave(member, count)
        self._enter(member, count + number)

    def remove(self, member: K) -> None:
        """It has one less."""
        count = self._counts.pop(member)
        self._leave(member, count)
        if count > 1:
            self._enter(member, count - 1)
        while self._most and self._most not in self._levels:
            self._most -= 1

    def largest(self) -> K:
        """The member that has most; of equals the one that came to it last."""
        return next(reversed(self._levels[self._most]))

    def _enter(self, member: K, count: int) -> None:
        self._counts[member] = count
        self._levels.setdefault(count, {})[member] = None
        self._most = max(self._most, count)

    def _leave(self, member: K, count: int) -> None:
        level = self._levels[count]
        del level[member]
        if not level:
            del self._levels[count]


class FairShares:
    """The announcers of a key by their hosts. It is told of each peer that comes or goes."""

    def __init__(self, shares: Shares) -> None:
        self._hosts: ShareCounts[str] = ShareCounts()
        # Most hosts have one announcer: a tally for each of thousands would be felt.
        self._announcers: dict[str, Address | ShareCounts[Address]] = {}
        for announcer, peers in shares.items():
            for _ in peers:
                self.add(announcer)

    def add(self, announcer: Address) -> None:
        """It announced one peer more."""
        host = announcer[0]
        there = self._announcers.setdefault(host, announcer)
        if isinstance(there, ShareCounts):
            there.add(announcer)
        elif there != announcer:
            tally: ShareCounts[Address] = ShareCounts()
            tally.add(there, self._hosts[host])
            tally.add(announcer)
            self._announcers[host] = tally
        self._hosts.add(host)

    def remove(self, announcer: Address) -> None:
        """One peer of its is gone."""
        host = announcer[0]
        self._hosts.remove(host)
        there = self._announcers[host]
        if isinstance(there, ShareCounts):
            there.remove(announcer)
        if not self._hosts[host]:
            del self._announcers[host]

    def largest(self) -> Address:
        """Who has to give: the largest announcer of the host that has most."""
        there = self._announcers[self._hosts.largest()]
        return there.largest() if isinstance(there, ShareCounts) else there

    def draw(self, count: int, shares: Shares, sample: Sample) -> list[Address]:
        """``count`` of more peers, in random order.

        Every host has its turn before any has a second one, and so has every announcer of a host.
        """
        hosts = list(self._hosts)
        # Where each host's line begins: to shuffle thousands of announcers would cost a millisecond.
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
        """The peers of a host, one of each of its announcers, then second ones."""
        there = self._announcers[host]
        announcers = list(there) if isinstance(there, ShareCounts) else [there]
        round_number, first = divmod(start, len(announcers))
        more: deque[Iterator[Address]] = deque()
        for number in range(len(announcers)):
            share = shares[announcers[(first + number) % len(announcers)]]
            peers = _from(share, round_number)
            yield next(peers)
            if len(share) > 1:
                more.append(peers)
        while more:
            peers = more.popleft()
            for peer in peers:
                yield peer
                more.append(peers)
                break


def _from(peers: Collection[Address], number: int) -> Iterator[Address]:
    """The peers, beginning with another one for each number."""
    if len(peers) == 1:
        return iter(peers)
    ordered = list(peers)
    first = number % len(ordered)
    return iter(ordered[first:] + ordered[:first])
