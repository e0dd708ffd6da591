"""Computes soft timeouts from measured round trips: after one, a lookup goes on without waiting for the response.

The rule is mldht's, max(p10 + 100 ms, p90) of the latest round trips, with a smaller margin on networks that answer
within a few milliseconds, and a longer timeout for a contact that is known to be slow. Only nodes of which nothing is
known have p90: it stays high for a while where processes were starting, or where one member of many is far away.

Under 60 lines: it is that rule alone.
"""

from __future__ import annotations

from collections import deque

from grape.dht.counts import Times

SAMPLES = 256
RECOMPUTE_EVERY = 32
# Of fewer samples the least is taken for p10: while the processes of a ring start together most of them are late.
YOUNG_SAMPLES = 64
FIRST_SOFT_SECONDS = 0.25
MIN_MARGIN_SECONDS = 0.03
MAX_MARGIN_SECONDS = 0.1
# A margin of this many times p10 lets a busy node send a few dozen other responses before ours.
MARGIN_ROUND_TRIPS = 20.0
MAX_SOFT_SECONDS = 1.0


class RoundTrips:
    """Keeps the latest round trips of one socket's queries and derives soft timeouts from them.

    All are added to ``times``, too.
    """

    def __init__(self, times: Times | None = None) -> None:
        self._add = (times if times is not None else Times()).add
        self._samples: deque[float] = deque(maxlen=SAMPLES)
        self._fresh = 0
        #: The soft timeout of nodes that answer as fast as is usual here, in seconds.
        self.usual_seconds = FIRST_SOFT_SECONDS
        self._for_unknown = FIRST_SOFT_SECONDS

    def measured(self, seconds: float) -> None:
        """Adds a round trip, in seconds."""
        self._samples.append(seconds)
        self._add(seconds)
        self._fresh += 1
        if self._fresh >= RECOMPUTE_EVERY or len(self._samples) < RECOMPUTE_EVERY:
            self._fresh = 0
            self._recompute()

    def soft_seconds(self, round_trip: float) -> float:
        """Returns the soft timeout, in seconds, for a node with this round trip (0: unknown)."""
        if not round_trip:
            return self._for_unknown
        soft = 2.0 * round_trip
        # Each query comes here: max() and min() would take 0.1 us.
        if soft <= self.usual_seconds:
            return self.usual_seconds
        return soft if soft < MAX_SOFT_SECONDS else MAX_SOFT_SECONDS

    def _recompute(self) -> None:
        ordered = sorted(self._samples)
        p10 = ordered[len(ordered) // 10] if len(ordered) >= YOUNG_SAMPLES else ordered[0]
        p90 = ordered[len(ordered) * 9 // 10]
        margin = min(max(MARGIN_ROUND_TRIPS * p10, MIN_MARGIN_SECONDS), MAX_MARGIN_SECONDS)
        self.usual_seconds = min(p10 + margin, MAX_SOFT_SECONDS)
        self._for_unknown = min(max(p90, self.usual_seconds), MAX_SOFT_SECONDS)
