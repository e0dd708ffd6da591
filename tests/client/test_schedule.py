"""grape.client.schedule: when an announce is made again."""

from __future__ import annotations

import random

import pytest

from grape.client.schedule import INTERVAL_SECONDS, Schedule

# The shortest age of peers that is in use.
NODE_AGE_SECONDS = 120.0


def test_announces_are_spread_well_inside_the_age_of_peers() -> None:
    schedule = Schedule(INTERVAL_SECONDS, None, random.Random(1))
    pauses = [schedule.succeeded() for _ in range(1_000)]
    assert 45 <= min(pauses) < 47
    assert 73 < max(pauses) <= 75
    assert max(pauses) < NODE_AGE_SECONDS * 2 / 3


def test_short_ttl_is_renewed_three_times_in_its_time() -> None:
    schedule = Schedule(INTERVAL_SECONDS, 30.0, random.Random(1))
    assert all(7.5 <= schedule.succeeded() <= 12.5 for _ in range(100))


def test_failures_are_tried_again_soon_then_less_often() -> None:
    schedule = Schedule(INTERVAL_SECONDS, None, random.Random(1))
    pauses = [schedule.failed() for _ in range(12)]
    expected = [min(0.5 * 2**n, INTERVAL_SECONDS) for n in range(12)]
    assert all(want * 0.75 <= pause <= want * 1.25 for want, pause in zip(expected, pauses, strict=True))
    assert schedule.failures == 12
    schedule.succeeded()
    assert schedule.failures == 0
    assert schedule.failed() < 1


@pytest.mark.parametrize(("interval", "ttl"), [(0, None), (-1, None), (60, 0), (float("nan"), None)])
def test_times_that_cannot_work_are_refused(interval: float, ttl: float | None) -> None:
    with pytest.raises(ValueError, match="more than 0 seconds"):
        Schedule(interval, ttl, random.Random(1))
