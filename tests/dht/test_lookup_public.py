"""grape.dht.lookup under the public profile: one node of each /24 network counts, and none is hidden for good."""

from __future__ import annotations

import pytest

from grape.dht.compact import Address
from grape.dht.lookup import Lookup
from grape.dht.routing import K
from tests.dht.test_lookup import KEY, OWN, answer, fars


def neighbour(far: int, host: int, network: str = "203.0.113") -> tuple[bytes, Address]:
    return far.to_bytes(20, "big"), (f"{network}.{host}", 20_001)


def public_lookup(*nodes: tuple[bytes, Address], k: int = K) -> Lookup:
    lookup = Lookup(KEY, OWN, k, one_per_network=True)
    for node_id, address in nodes:
        lookup.add(node_id, address)
    return lookup


def test_public_lookup_queries_the_nearest_of_a_network_alone() -> None:
    lookup = public_lookup(neighbour(5, 1), neighbour(3, 2), neighbour(4, 3), neighbour(9, 1, "203.0.112"))
    assert fars(lookup.ask()) == [3, 9]
    assert lookup.ask() == []


@pytest.mark.parametrize("end", ["failed", "slow"])
def test_public_lookup_queries_the_next_of_a_network_after_one_that_does_not_answer(end: str) -> None:
    lookup = public_lookup(neighbour(5, 1), neighbour(1, 2), neighbour(3, 3), neighbour(2, 4))
    for far in (1, 2, 3, 5):
        (asked,) = lookup.ask()
        assert asked.distance == far
        getattr(lookup, end)(asked)
    assert lookup.ask() == []


def test_public_lookup_finds_an_honest_node_among_invented_neighbours() -> None:
    honest = neighbour(100, 1)
    lookup = public_lookup(honest, *(neighbour(1 + n, 2 + n) for n in range(50)))
    invented = 0
    while asked := lookup.ask():
        lookup.failed(asked[0])
        invented += 1
    assert invented == 5
    lookup.add(*honest)
    answer(lookup, lookup.ask())
    assert fars(lookup.found().closest) == [100]


def test_public_lookup_counts_the_first_of_a_network_to_answer() -> None:
    lookup = public_lookup(neighbour(1, 1), neighbour(2, 2), neighbour(3, 3))
    (first,) = lookup.ask()
    lookup.slow(first)
    (second,) = lookup.ask()
    answer(lookup, [first])
    answer(lookup, [second])
    assert lookup.ask() == []
    assert lookup.finished
    assert fars(lookup.found().closest) == [1]
    assert lookup.answered == 2


def test_public_lookup_counts_a_late_response_before_a_candidate_not_yet_queried() -> None:
    lookup = public_lookup(neighbour(1, 1), neighbour(2, 2))
    (first,) = lookup.ask()
    lookup.slow(first)
    answer(lookup, [first])
    assert lookup.ask() == []
    assert fars(lookup.found().closest) == [1]


def test_public_lookup_prefers_another_of_a_network_to_a_doubtful_one() -> None:
    lookup = Lookup(KEY, OWN, one_per_network=True)
    lookup.add(*neighbour(1, 1), doubtful=True)
    lookup.add(*neighbour(2, 2))
    assert fars(lookup.ask()) == [2]


def test_public_lookup_adds_a_dropped_candidate_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grape.dht.lookup.MAX_CANDIDATES", 3)
    nodes = [neighbour(far, 1, f"198.51.{far}") for far in (10, 11, 12, 9)]
    lookup = public_lookup(*nodes, neighbour(13, 2, "198.51.12"))
    monkeypatch.setattr("grape.dht.lookup.MAX_CANDIDATES", 4)
    lookup.add(*nodes[2])
    assert fars(lookup.ask()) == [9, 10, 11, 12]


def test_public_lookup_takes_the_nearer_of_two_ids_for_a_waiting_address() -> None:
    lookup = public_lookup(neighbour(5, 1), neighbour(9, 2))
    lookup.add(neighbour(1, 2)[0], neighbour(9, 2)[1])
    assert fars(lookup.ask()) == [1]
