"""How much is done for whom: a bucket of units for each host, filled at a steady rate. It shapes, it never bans."""

from __future__ import annotations

from grape.dht.bounded import BoundedDict

MAX_BUCKETS = 4_096


class RateLimit:
    """``rate`` units a second for each host, saved up to ``burst``. The longest unused bucket goes first."""

    def __init__(self, rate: float, burst: float, max_buckets: int = MAX_BUCKETS) -> None:
        self._rate = rate
        self._burst = burst
        # For each host what it has left, and when that was.
        self._buckets: BoundedDict[str, tuple[float, float]] = BoundedDict(max_buckets)

    def __len__(self) -> int:
        return len(self._buckets)

    def allows(self, host: str, size: int, now: float) -> bool:
        """Take ``size`` units from a host's bucket. False, and nothing taken, if it holds less."""
        left, at = self._buckets.get(host, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        allowed = left >= size
        self._buckets.put(host, (left - size if allowed else left, now))
        return allowed

    def give_back(self, host: str, size: int) -> None:
        """Put ``size`` units back that were just taken from a host's bucket."""
        left, at = self._buckets[host]
        self._buckets[host] = (left + size, at)


class HostRateLimit:
    """So many units a second for each host, and so many for all of them together; a second's worth at once."""

    def __init__(self, of_each: float, of_all: float, max_buckets: int = MAX_BUCKETS) -> None:
        self._each = RateLimit(of_each, of_each, max_buckets)
        self._all = RateLimit(of_all, of_all)

    def allows(self, host: str, size: int, now: float) -> bool:
        """Take ``size`` units from both. False, and nothing taken, if one of them holds less."""
        if not self._each.allows(host, size, now):
            return False
        if self._all.allows("", size, now):
            return True
        self._each.give_back(host, size)
        return False
