"""grape.dht.buckets: a contact's round trip."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from grape.dht.buckets import ROUND_TRIPS, UNMEASURED_SECONDS, Contact
from grape.dht.rtt import RoundTrips


def contact_after(*round_trips: float) -> Contact:
    contact = Contact(bytes(20), ("10.0.0.1", 20_001))
    for seconds in round_trips:
        contact.measured(seconds)
    return contact


@given(st.lists(st.sampled_from([0.001, 0.002, 0.003, 0.5]) | st.floats(0.0001, 2), min_size=1, max_size=40))
def test_contact_has_the_least_of_its_last_round_trips(round_trips: list[float]) -> None:
    assert contact_after(*round_trips).round_trip == min(round_trips[-ROUND_TRIPS:])


def test_contact_is_not_taken_for_slow_because_it_was_busy_once() -> None:
    assert contact_after(0.001, *[0.9] * (ROUND_TRIPS - 1)).round_trip == 0.001
    assert contact_after(0.9, 0.001).round_trip == 0.001


def test_contact_that_has_become_slow_is_known_as_slow_after_eight_answers() -> None:
    assert contact_after(*[0.001] * 20, *[0.4] * ROUND_TRIPS).round_trip == 0.4


def test_contact_that_answered_pings_alone_has_the_usual_soft_timeout() -> None:
    contact = contact_after(0.0, 0.0)
    assert contact.round_trip == UNMEASURED_SECONDS
    trips = RoundTrips()
    for seconds in [0.0005] * 50 + [0.5] * 50:
        trips.measured(seconds)
    assert trips.soft_seconds(contact.round_trip) == trips.usual_seconds < trips.soft_seconds(0.0)
    contact.measured(0.3)
    contact.measured(0.0)
    assert contact.round_trip == 0.3
