"""grape.node.rates: how often things happened in the last minute."""

from __future__ import annotations

from grape.node.rates import SAMPLE_SECONDS, SAMPLES, Rates
from grape.testing import HeapClock


class Counting:
    """Counts by a virtual clock."""

    def __init__(self) -> None:
        self.clock = HeapClock()
        self.count = 1_000
        self.rates = Rates(self.clock, {"calls": lambda: self.count})

    def go_on(self, seconds: int, each_second: int) -> None:
        for _ in range(seconds):
            self.count += each_second
            self.clock.advance(1)


def test_rates_are_zero_before_the_start_and_at_it() -> None:
    counting = Counting()
    assert counting.rates.per_second() == {"calls": 0.0}
    counting.rates.start()
    assert counting.rates.per_second() == {"calls": 0.0}
    counting.rates.stop()


def test_rates_are_those_since_the_start_at_first() -> None:
    counting = Counting()
    counting.rates.start()
    counting.go_on(3, 7)
    assert counting.rates.per_second() == {"calls": 7.0}
    counting.rates.stop()
    counting.rates.stop()
    assert counting.clock.getDelayedCalls() == []


def test_rates_forget_what_was_more_than_a_minute_ago() -> None:
    counting = Counting()
    counting.rates.start()
    counting.go_on(100, 50)
    counting.go_on(int(SAMPLE_SECONDS) * SAMPLES, 4)
    assert counting.rates.per_second() == {"calls": 4.0}
    counting.rates.stop()
