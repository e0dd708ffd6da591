"""grape.dht.counts: queries by method, and histograms of measured times."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from grape.dht.counts import BOUNDS, METHODS, OTHER, ByMethod, Histogram, SentByMethod, Times
from grape.dht.rtt import RoundTrips

seconds = st.floats(0, 20)


def plain(values: list[float]) -> list[int]:
    """Returns how many of the values are at most each bound."""
    return [sum(value <= bound for value in values) for bound in BOUNDS]


def test_queries_are_counted_by_method_and_unknown_ones_together() -> None:
    counts = ByMethod()
    for method in (b"ping", b"get", b"get", b"vote", b"\xff"):
        counts.count(method)
    assert dict(counts) == {**dict.fromkeys(METHODS, 0), "ping": 1, "get": 2, OTHER: 2}
    assert counts.total == 5


def test_sent_queries_are_counted_by_method() -> None:
    sent = SentByMethod()
    sent[b"ping"].sent += 2
    sent[b"vote"].sent += 1
    assert {name: counts.sent for name, counts in sent.by_name()} == {**dict.fromkeys(METHODS, 0), "ping": 2, OTHER: 1}
    assert (sent.total("sent"), sent.total("answered")) == (3, 0)
    assert len(sent) == len(METHODS)


@given(st.lists(st.lists(seconds)))
def test_histogram_counts_what_is_up_to_each_bound(parts: list[list[float]]) -> None:
    histogram, values = Histogram(), [value for part in parts for value in part]
    for part in parts:
        histogram.add(part)
    assert histogram.cumulative == plain(values)
    assert histogram.count == len(values)
    assert abs(histogram.sum - sum(values)) < 1e-6


def test_histogram_counts_a_bound_itself_as_within_its_bucket() -> None:
    histogram = Histogram()
    histogram.add(BOUNDS)
    assert histogram.cumulative == list(range(1, len(BOUNDS) + 1))


@given(st.lists(st.lists(seconds)))
def test_times_are_in_the_histogram_once_however_often_it_is_read(parts: list[list[float]]) -> None:
    times = Times()
    for part in parts:
        for value in part:
            times.add(value)
        times.histogram()
    assert times.histogram().cumulative == plain([value for part in parts for value in part])


def test_round_trips_are_measured_as_times() -> None:
    times = Times()
    trips = RoundTrips(times)
    for seconds in (0.001, 0.3):
        trips.measured(seconds)
    assert (times.histogram().count, times.histogram().sum) == (2, 0.301)
