"""grape.dht.ratelimit: how much each host, and all hosts together, are allowed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from grape.dht.ratelimit import MAX_BUCKETS, HostRateLimit, RateLimit


def test_rate_limit_allows_a_burst_and_then_a_steady_rate() -> None:
    limit = RateLimit(rate=100, burst=300)
    assert [limit.allows("a", 100, 0.0) for _ in range(4)] == [True, True, True, False]
    assert limit.allows("b", 300, 0.0)
    assert not limit.allows("a", 100, 0.5)
    assert limit.allows("a", 100, 1.0)


def test_rate_limit_bounds_its_buckets_and_bans_no_host() -> None:
    limit = RateLimit(rate=1, burst=10)
    for n in range(3 * MAX_BUCKETS):
        limit.allows(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", 11, 0.0)
    assert len(limit) == MAX_BUCKETS
    assert limit.allows("10.0.0.1", 10, 0.0)


def test_rate_limit_takes_units_back() -> None:
    limit = RateLimit(rate=1, burst=10)
    assert limit.allows("a", 10, 0.0)
    limit.give_back("a", 9)
    assert not limit.allows("a", 10, 0.0)
    assert limit.allows("a", 10, 1.0)


def test_host_rate_limit_bounds_each_host_and_all_together() -> None:
    limit = HostRateLimit(of_each=10, of_all=25)
    assert [limit.allows("a", 6, 0.0), limit.allows("a", 6, 0.0)] == [True, False]
    assert [limit.allows(host, 10, 0.0) for host in ("b", "c", "d")] == [True, False, False]
    # A refusal for all takes nothing from the host.
    assert limit.allows("c", 9, 0.0)
    assert limit.allows("c", 10, 1.0)


@given(st.lists(st.tuples(st.integers(0, 2_000), st.sampled_from("abc"), st.integers(1, 20)), max_size=60))
def test_host_rate_limit_allows_no_more_than_its_rates_and_a_second_at_once(calls: list[tuple[int, str, int]]) -> None:
    limit = HostRateLimit(of_each=10, of_all=15)
    taken = dict.fromkeys("abc", 0)
    milliseconds = 0
    for wait, host, size in calls:
        milliseconds += wait
        if limit.allows(host, size, milliseconds / 1_000):
            taken[host] += size
        seconds = 1 + milliseconds / 1_000
        assert all(units <= 10 * seconds + 1e-6 for units in taken.values())
        assert sum(taken.values()) <= 15 * seconds + 1e-6


def test_host_rate_limit_takes_units_back_into_both_buckets() -> None:
    limit = HostRateLimit(of_each=10, of_all=10)
    assert limit.allows("a", 10, 0.0)
    limit.give_back("a", 9)
    assert [limit.allows("b", 10, 0.0), limit.allows("b", 9, 0.0)] == [False, True]
