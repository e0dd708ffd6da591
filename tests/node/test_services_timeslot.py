"""grape.node.services: names with the time slot of a 0.x network."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from twisted.internet.defer import CancelledError

from grape.testing import MemoryNetwork, make_grapes
from tests.node.test_services import FIRST, failure
from tests.simulation import lone_grape, outcome


class Wall(datetime):
    """A wall clock that shows the time which the test sets."""

    seconds = 1_700_000_012.345

    @classmethod
    def now(cls, tz: Any = None) -> Wall:
        return cls.fromtimestamp(cls.seconds, UTC)


def test_time_slots_are_part_of_the_names(network: MemoryNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grape.node.arguments.datetime", Wall)
    plain = lone_grape(network)
    slotted = [lone_grape(network, f"10.0.0.{n}", dht_bootstrap=[FIRST], timeslot=10_000) for n in (2, 3)]
    network.clock.advance(1)
    stored: list[str] = []
    plain.on("announce", stored.append)
    assert network.result(slotted[0].announce("a", 1)) == 2
    assert stored == ["a-1700000010000"]
    assert network.result(plain.lookup("a")) == []
    assert network.result(plain.lookup("a-1700000010000")) == ["10.0.0.2:1"]
    for seconds, found in ((0, True), (7.6, True), (10, True), (10, False)):
        monkeypatch.setattr(Wall, "seconds", Wall.seconds + seconds)
        assert network.result(slotted[1].lookup("a")) == (["10.0.0.2:1"] if found else [])


def test_lookup_sums_the_current_time_slot_and_the_last(
    network: MemoryNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grape.node.arguments.datetime", Wall)
    grape = lone_grape(network, timeslot=60_000)
    for port in (1, 2):
        network.result(grape.announce("a", port))
        monkeypatch.setattr(Wall, "seconds", Wall.seconds + 30)
    found = network.result(grape.lookup("a"))
    assert sorted(found) == ["127.0.0.1:1", "127.0.0.1:2"]


def test_lookup_in_time_slots_can_be_cancelled(network: MemoryNetwork) -> None:
    lone_grape(network)
    grape = lone_grape(network, "10.0.0.2", dht_bootstrap=[FIRST], timeslot=10_000)
    network.result(grape.when_ready())
    lookup = grape.lookup("a")
    results = outcome(lookup)
    lookup.cancel()
    assert [type(result) for result in results] == [CancelledError]


def test_cancelled_lookup_in_time_slots_calls_nobody(network: MemoryNetwork) -> None:
    grape = make_grapes(network, 2, timeslot=10_000)[0]
    heard: list[object] = []
    grape.node.begin_lookup("a", heard.append).cancel()
    network.clock.advance(5)
    assert heard == []
    assert grape.stats().queries_in_flight == 0


def test_lookup_in_time_slots_that_cannot_begin_the_second_cancels_the_first(network: MemoryNetwork) -> None:
    # The first lookup queries thirteen nodes: the second would exceed ``max_pending``.
    grape = make_grapes(network, 14, timeslot=10_000, max_pending=16)[0]
    assert failure(network, grape.lookup("a")) == ("ERR_GRAPE_OVERLOADED", 503)
    asked = grape.stats().counters["queries_out"]
    network.clock.advance(0.5)
    assert grape.stats().counters["queries_out"] == asked
