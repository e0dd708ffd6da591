"""Verifies signatures of puts within a budget, so that a flood of bad ones cannot use up the processor.

Verifying one takes 0.1 ms. A good signature costs a tenth of a bad one: a ring on one host puts hundreds of items a
second, and making a good signature takes as much work as verifying it.

Under 60 lines: it is one rate limit around one call.
"""

from __future__ import annotations

from grape.dht import items
from grape.dht.errors import RemoteProtocolError
from grape.dht.items import Item
from grape.dht.messages import SERVER_ERROR
from grape.dht.ratelimit import HostRateLimit

BAD_PER_SECOND = 200
# For all hosts together: bad signatures then take a tenth of a processor.
ALL_BAD_PER_SECOND = 1_000
GOOD_UNITS = 1
BAD_UNITS = 10


class SignatureBudget:
    """Verifies the mutable items that hosts put; ``refused`` counts those refused unverified for lack of budget."""

    def __init__(self) -> None:
        self.refused = 0
        self._limit = HostRateLimit(BAD_PER_SECOND * BAD_UNITS, ALL_BAD_PER_SECOND * BAD_UNITS)

    def is_signed(self, item: Item, host: str, now: float) -> bool:
        """Returns True if the item's signature is good.

        Raises RemoteProtocolError 202, without verifying, when too many from ``host``, or from all hosts, were bad.
        """
        if not self._limit.allows(host, BAD_UNITS, now):
            self.refused += 1
            raise RemoteProtocolError(SERVER_ERROR, "too many signatures to verify, try again later")
        is_good = items.is_signed(item)
        if is_good:
            self._limit.give_back(host, BAD_UNITS - GOOD_UNITS)
        return is_good
