"""Keeps what lookups found for a while, and puts the peers of a service in order for each caller.

Never keeps an empty list or an error: a service that is announced after an empty lookup is found by the next one. A
peer that the caller reports dead is left out for a while. Pure: time is an argument, in seconds; all of it is bounded.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal, TypeAlias

import attrs

from grape.dht.bounded import BoundedDict

Order: TypeAlias = Literal["random", "round-robin"]

MAX_NAMES = 2_500
MAX_DEAD = 2_500


@attrs.frozen
class _Found:
    peers: tuple[str, ...]
    until: float


class Peers:
    """Keeps the peers of at most 2,500 services for ``cache_seconds``, and reported peers for ``dead_seconds``.

    ``order`` is "random", or "round-robin": each lookup of a service then begins with the next of its peers.
    """

    def __init__(self, cache_seconds: float, dead_seconds: float, order: Order, dice: random.Random) -> None:
        if order not in ("random", "round-robin"):
            raise ValueError(f'order is "random" or "round-robin", not {order!r}')
        self._cache_seconds = cache_seconds
        self._dead_seconds = dead_seconds
        self._is_random = order == "random"
        self._dice = dice
        self._found: BoundedDict[str, _Found] = BoundedDict(MAX_NAMES)
        self._dead: BoundedDict[str, float] = BoundedDict(MAX_DEAD)
        # The peer that a name's last lookup began with.
        self._turns: BoundedDict[str, str] = BoundedDict(MAX_NAMES)
        # Counts what was announced or withdrawn through this link: a lookup that began before says nothing of it.
        self.version = 0

    def cached(self, name: str, now: float) -> list[str] | None:
        """Returns the peers of a service in the order for one caller; None if a grape has to be asked."""
        found = self._found.get(name)
        if found is None:
            return None
        if found.until > now:
            peers = self.ordered(name, found.peers, now)
            if peers:
                return peers
        del self._found[name]
        return None

    def keep(self, name: str, peers: Sequence[str], version: int, now: float) -> None:
        """Keeps what a grape answered to a lookup that began at this ``version``, if it is neither empty nor old."""
        if peers and self._cache_seconds > 0 and version == self.version:
            self._found.put(name, _Found(tuple(peers), now + self._cache_seconds))

    def forget(self, name: str) -> None:
        """Has the next lookup of a service ask a grape, and no lookup under way count as that."""
        self.version += 1
        self._found.pop(name, None)

    def ordered(self, name: str, peers: Sequence[str], now: float) -> list[str]:
        """Returns the peers that are not reported dead, in the order for one caller."""
        alive = [peer for peer in peers if not self._is_dead(peer, now)] if self._dead else list(peers)
        if self._is_random:
            self._dice.shuffle(alive)
        elif alive:
            alive.sort()
            last = self._turns.get(name, "")
            first = next((at for at, peer in enumerate(alive) if peer > last), 0)
            alive = alive[first:] + alive[:first]
            self._turns.put(name, alive[0])
        return alive

    def report_dead(self, peer: str, now: float) -> None:
        """Leaves a peer, "ip:port", out of all lists for a while."""
        if self._dead_seconds > 0:
            self._dead.put(peer, now + self._dead_seconds)

    def _is_dead(self, peer: str, now: float) -> bool:
        until = self._dead.get(peer)
        if until is None:
            return False
        if until > now:
            return True
        del self._dead[peer]
        return False
