"""Limits rates by host with token buckets, filled at a steady rate; no host is ever banned."""

from __future__ import annotations

from grape.dht.bounded import BoundedDict

MAX_BUCKETS = 4_096
# The only bucket of the limit for all hosts together.
_ALL = ""


class RateLimit:
    """Allows each host ``rate`` units a second, saved up to ``burst``.

    Above ``max_buckets`` the bucket unused for longest is evicted; its host starts again with ``burst``.
    """

    def __init__(self, rate: float, burst: float, max_buckets: int = MAX_BUCKETS) -> None:
        self._rate = rate
        self._burst = burst
        # For each host the units that it had left, and when.
        self._buckets: BoundedDict[str, tuple[float, float]] = BoundedDict(max_buckets)

    def __len__(self) -> int:
        return len(self._buckets)

    def resize(self, max_buckets: int) -> None:
        """Sets how many buckets are kept."""
        self._buckets.resize(max_buckets)

    def allows(self, host: str, size: int, now: float) -> bool:
        """Takes ``size`` units from the host's bucket. Returns False, and takes nothing, if it holds less."""
        left, at = self._buckets.get(host, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        allowed = left >= size
        self._buckets.put(host, (left - size if allowed else left, now))
        return allowed

    def give_back(self, host: str, size: int) -> None:
        """Puts ``size`` units back that were just taken from the host's bucket."""
        left, at = self._buckets[host]
        self._buckets[host] = (left + size, at)


class HostRateLimit:
    """Allows ``of_each`` units a second for each host and ``of_all`` for all together, a second's worth at once."""

    def __init__(self, of_each: float, of_all: float, max_buckets: int = MAX_BUCKETS) -> None:
        self._each = RateLimit(of_each, of_each, max_buckets)
        self._all = RateLimit(of_all, of_all, 1)

    def resize(self, max_buckets: int) -> None:
        """Sets for how many hosts buckets are kept."""
        self._each.resize(max_buckets)

    def allows(self, host: str, size: int, now: float) -> bool:
        """Takes ``size`` units from both buckets. Returns False, and takes nothing, if one of them holds less."""
        if not self._each.allows(host, size, now):
            return False
        if self._all.allows(_ALL, size, now):
            return True
        self._each.give_back(host, size)
        return False

    def give_back(self, host: str, size: int) -> None:
        """Puts ``size`` units back into both buckets that were just taken for the host."""
        self._each.give_back(host, size)
        self._all.give_back(_ALL, size)
