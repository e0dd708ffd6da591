"""Measures how late the event loop calls what is due: by a timer, every two seconds.

Under 60 lines: one timer.
"""

from __future__ import annotations

from collections.abc import Callable

from grape.dht.counts import Times
from grape.reactor import Clock, Timer

# Each tick wakes an idle process, which takes 0.1 ms.
TICK_SECONDS = 2.0


class LoopLag:
    """Adds the lag of each tick to ``lags``, and calls ``each_tick()`` then."""

    def __init__(self, clock: Clock, lags: Times, each_tick: Callable[[], object]) -> None:
        self._clock = clock
        self._lags = lags
        self._each_tick = each_tick
        self._timer: Timer | None = None
        self._due_at = 0.0

    def start(self) -> None:
        """Begins to measure."""
        self._due_at = self._clock.seconds() + TICK_SECONDS
        self._timer = self._clock.callLater(TICK_SECONDS, self._tick)

    def stop(self) -> None:
        """Measures no more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _tick(self) -> None:
        lag = self._clock.seconds() - self._due_at
        self.start()
        self._lags.add(max(lag, 0.0))
        self._each_tick()
