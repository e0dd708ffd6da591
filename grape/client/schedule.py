"""Decides when a service is announced again: with jitter, well inside the age that peers have in the network.

A peer lives 240 s by default, 120 s in some networks; the Node client announces again every 60 to 180 s. Pure: the
randomness is handed in, the result is a number of seconds to wait.

Under 60 lines: it is the one rule that three kinds of timer follow.
"""

from __future__ import annotations

import random

# Between 45 and 75 s: an announce may fail once in a network where peers live 120 s, and nobody notices.
INTERVAL_SECONDS = 60.0
JITTER = 0.25
# How many times an announce with a time to live is made in that time.
TIMES_IN_TTL = 3
# After a failure: when the grape restarts, its services are back soon.
FIRST_RETRY_SECONDS = 0.5
# A program that ends waits so long for its announce to be withdrawn.
WITHDRAWAL_SECONDS = 2.5


class Schedule:
    """Counts the failures of one announce that is repeated, and says how long to wait for the next time.

    ``interval`` is in seconds, and drawn anew each time from 0.75 to 1.25 of that; ``ttl`` is how many seconds the
    announce is listed, if that was asked for: it makes the interval shorter. Raises ValueError unless both are
    positive.
    """

    def __init__(self, interval: float, ttl: float | None, dice: random.Random) -> None:
        if not interval > 0 or (ttl is not None and not ttl > 0):
            raise ValueError("the interval and the time to live of an announce are more than 0 seconds")
        self._interval = interval if ttl is None else min(interval, ttl / TIMES_IN_TTL)
        self._dice = dice
        self.failures = 0

    def succeeded(self) -> float:
        """Notes that an announce was made; returns the seconds until the next one."""
        self.failures = 0
        return self._jittered(self._interval)

    def failed(self) -> float:
        """Notes that an announce failed; returns the seconds until it is tried again: 0.5 s, 1 s, 2 s and so on."""
        pause = min(FIRST_RETRY_SECONDS * 2 ** min(self.failures, 16), self._interval)
        self.failures += 1
        return self._jittered(pause)

    def _jittered(self, seconds: float) -> float:
        return seconds * self._dice.uniform(1 - JITTER, 1 + JITTER)
