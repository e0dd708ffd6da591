"""Computes how often things happen, from counts that are sampled by a timer: counting itself costs nothing more.

Under 60 lines: one timer and one division.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from grape.reactor import Clock, Timer

SAMPLE_SECONDS = 10.0
SAMPLES = 6

# A count that never decreases.
Count = Callable[[], int]


class Rates:
    """The rates of some counts over the last minute, or since ``start`` if that is less.

    ``counts`` are functions by name.
    """

    def __init__(self, clock: Clock, counts: dict[str, Count]) -> None:
        self._clock = clock
        self._counts = dict(counts)
        # The time and the counts of each sample, the oldest first.
        self._samples: deque[tuple[float, dict[str, int]]] = deque(maxlen=SAMPLES)
        self._timer: Timer | None = None

    def start(self) -> None:
        """Begins to sample."""
        self._samples.clear()
        self._sample()

    def stop(self) -> None:
        """Samples no more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def per_second(self) -> dict[str, float]:
        """Returns how often each thing happened in a second, by name; zeros before there is anything to compare."""
        if not self._samples:
            return dict.fromkeys(self._counts, 0.0)
        at, before = self._samples[0]
        seconds = self._clock.seconds() - at
        now = self._read()
        return {
            name: (count - before.get(name, count)) / seconds if seconds > 0 else 0.0 for name, count in now.items()
        }

    def _sample(self) -> None:
        self._timer = self._clock.callLater(SAMPLE_SECONDS, self._sample)
        self._samples.append((self._clock.seconds(), self._read()))

    def _read(self) -> dict[str, int]:
        return {name: count() for name, count in self._counts.items()}
