"""Shaping what is sent to whom."""

from __future__ import annotations

from grape.dht.ratelimit import MAX_BUCKETS, HostRateLimit, RateLimit


def test_a_burst_and_then_a_steady_rate() -> None:
    limit = RateLimit(rate=100, burst=300)
    assert [limit.allows("a", 100, 0.0) for _ in range(4)] == [True, True, True, False]
    assert limit.allows("b", 300, 0.0)
    assert not limit.allows("a", 100, 0.5)
    assert limit.allows("a", 100, 1.0)


def test_nobody_is_banned_and_nothing_grows_without_bound() -> None:
    limit = RateLimit(rate=1, burst=10)
    for n in range(3 * MAX_BUCKETS):
        limit.allows(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", 11, 0.0)
    assert len(limit) == MAX_BUCKETS
    assert limit.allows("10.0.0.1", 10, 0.0)


def test_what_is_given_back_can_be_taken_again() -> None:
    limit = RateLimit(rate=1, burst=10)
    assert limit.allows("a", 10, 0.0)
    limit.give_back("a", 9)
    assert not limit.allows("a", 10, 0.0)
    assert limit.allows("a", 10, 1.0)


def test_hosts_have_a_limit_each_and_one_together() -> None:
    limit = HostRateLimit(of_each=10, of_all=25)
    assert [limit.allows("a", 6, 0.0), limit.allows("a", 6, 0.0)] == [True, False]
    assert [limit.allows(host, 10, 0.0) for host in ("b", "c", "d")] == [True, False, False]
    # What was refused for all is not taken from the one.
    assert limit.allows("c", 9, 0.0)
    assert limit.allows("c", 10, 1.0)
