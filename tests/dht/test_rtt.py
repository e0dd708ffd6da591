"""grape.dht.rtt: soft timeouts from measured round trips."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grape.dht.rtt import (
    FIRST_SOFT_SECONDS,
    MAX_MARGIN_SECONDS,
    MAX_SOFT_SECONDS,
    MIN_MARGIN_SECONDS,
    RECOMPUTE_EVERY,
    SAMPLES,
    RoundTrips,
)


def after(samples: Iterable[float]) -> RoundTrips:
    trips = RoundTrips()
    for seconds in samples:
        trips.measured(seconds)
    return trips


def test_soft_timeout_is_a_quarter_of_a_second_at_first() -> None:
    assert RoundTrips().soft_seconds(0.0) == FIRST_SOFT_SECONDS
    assert RoundTrips().soft_seconds(0.01) == FIRST_SOFT_SECONDS


def test_soft_timeout_counts_the_first_response_at_once() -> None:
    assert after([0.001]).soft_seconds(0.0) == pytest.approx(0.001 + MIN_MARGIN_SECONDS)


def test_soft_timeout_has_a_small_margin_in_a_fast_network() -> None:
    assert after([0.0005] * 100).soft_seconds(0.0) == pytest.approx(0.0005 + MIN_MARGIN_SECONDS)
    assert after([0.05] * 100).soft_seconds(0.0) == pytest.approx(0.05 + MAX_MARGIN_SECONDS)


def test_soft_timeout_of_unknown_nodes_is_that_of_the_slowest_tenth() -> None:
    mixed = after([0.01] * 80 + [0.5] * 80)
    assert mixed.soft_seconds(0.0) == pytest.approx(0.5)
    assert mixed.soft_seconds(0.01) == pytest.approx(0.01 + MAX_MARGIN_SECONDS)


def test_soft_timeout_of_a_slow_contact_is_twice_its_round_trip() -> None:
    assert after([0.01] * 100).soft_seconds(0.3) == pytest.approx(0.6)


def test_soft_timeout_forgets_old_samples() -> None:
    trips = after([1.0] * SAMPLES + [0.001] * (SAMPLES + RECOMPUTE_EVERY))
    assert trips.soft_seconds(0.0) == pytest.approx(0.001 + MIN_MARGIN_SECONDS)


def test_soft_timeout_of_a_young_ring_is_not_raised_by_processes_that_were_starting() -> None:
    starting = [0.0008, *[0.02 * n for n in range(1, 10)], *[0.3] * 10]
    assert after(starting).soft_seconds(0.001) < 0.05
    assert after([*starting, *[0.0005] * 3]).soft_seconds(0.001) == pytest.approx(0.0005 + MIN_MARGIN_SECONDS)


def test_soft_timeout_of_near_nodes_is_not_raised_by_one_member_of_six_that_is_far_away() -> None:
    trips = after([0.0005, 0.0005, 0.0005, 0.0005, 0.4] * 50)
    assert trips.soft_seconds(0.0005) == trips.usual_seconds == pytest.approx(0.0005 + MIN_MARGIN_SECONDS)


@given(st.lists(st.floats(0, 2), max_size=60), st.floats(0, 5))
def test_soft_timeout_is_at_most_a_second(samples: list[float], round_trip: float) -> None:
    assert 0 < after(samples).soft_seconds(round_trip) <= MAX_SOFT_SECONDS
