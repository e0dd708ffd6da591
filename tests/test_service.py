"""grape.Grape: what an embedder sees of node and HTTP API together."""

from __future__ import annotations

from grape import Grape
from grape.testing import MemoryNetwork


def test_stats_tell_how_often_there_was_no_room_for_http() -> None:
    grape = Grape(reactor=MemoryNetwork(seed=1).reactor("10.0.0.1"))
    grape.http._door.evicted, grape.http._door.refused, grape.http._api.overloads = 1, 2, 3
    counters = grape.stats().counters
    assert (counters["evicted_connections"], counters["refused_connections"], counters["overloads"]) == (1, 2, 3)
