"""grape.client.peers: what is kept of lookups, in which order peers come, and for how long a dead one is left out."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from grape.client.peers import MAX_DEAD, MAX_NAMES, Order, Peers

NAME = "rest:util:net"
THREE = ["10.0.0.1:1", "10.0.0.2:2", "10.0.0.3:3"]


def new_peers(order: Order = "random", cache_seconds: float = 5.0) -> Peers:
    return Peers(cache_seconds, 10.0, order, random.Random(1))


def test_found_peers_are_kept_for_a_while() -> None:
    peers = new_peers()
    peers.keep(NAME, THREE, peers.version, 0.0)
    assert sorted(peers.cached(NAME, 4.9) or []) == THREE
    assert peers.cached(NAME, 5.0) is None
    assert peers.cached("other", 0.0) is None


def test_empty_list_is_not_kept_and_nothing_without_a_cache() -> None:
    peers, without = new_peers(), new_peers(cache_seconds=0)
    peers.keep(NAME, [], peers.version, 0.0)
    without.keep(NAME, THREE, 0, 0.0)
    assert peers.cached(NAME, 0.0) is without.cached(NAME, 0.0) is None


def test_name_that_is_forgotten_is_asked_for_again() -> None:
    peers = new_peers()
    peers.keep(NAME, THREE, peers.version, 0.0)
    peers.forget(NAME)
    peers.forget(NAME)
    assert peers.cached(NAME, 0.0) is None


def test_lookup_that_began_before_an_announce_is_not_kept() -> None:
    peers = new_peers()
    version = peers.version
    peers.forget(NAME)
    peers.keep(NAME, THREE, version, 0.0)
    assert peers.cached(NAME, 0.0) is None


def test_random_order_gives_each_peer_its_chance_to_be_first() -> None:
    peers = new_peers()
    firsts = Counter(peers.ordered(NAME, THREE, 0.0)[0] for _ in range(300))
    assert min(firsts[peer] for peer in THREE) > 70


def test_round_robin_begins_with_the_next_peer_whatever_order_they_come_in() -> None:
    peers, dice = new_peers("round-robin"), random.Random(2)
    lists = [peers.ordered(NAME, dice.sample(THREE, 3), 0.0) for _ in range(6)]
    assert [each[0] for each in lists] == THREE * 2
    assert lists[1] == [THREE[1], THREE[2], THREE[0]]
    assert peers.ordered("other", THREE, 0.0)[0] == THREE[0]


def test_round_robin_goes_on_where_peers_come_and_go() -> None:
    peers = new_peers("round-robin")
    assert peers.ordered(NAME, THREE, 0.0)[0] == THREE[0]
    assert peers.ordered(NAME, [THREE[0], THREE[2]], 0.0)[0] == THREE[2]
    assert peers.ordered(NAME, [], 0.0) == []
    assert peers.ordered(NAME, THREE, 0.0)[0] == THREE[0]


def test_dead_peer_is_left_out_for_a_while() -> None:
    peers = new_peers()
    peers.report_dead(THREE[1], 0.0)
    assert sorted(peers.ordered(NAME, THREE, 9.9)) == [THREE[0], THREE[2]]
    assert sorted(peers.ordered(NAME, THREE, 10.0)) == THREE


def test_cached_list_whose_peers_are_all_dead_is_asked_for_again() -> None:
    peers = new_peers()
    peers.keep(NAME, THREE[:1], peers.version, 0.0)
    peers.report_dead(THREE[0], 0.0)
    assert peers.cached(NAME, 0.0) is None


def test_memory_is_bounded() -> None:
    peers = new_peers("round-robin")
    for n in range(MAX_NAMES + 10):
        peers.keep(str(n), THREE, peers.version, 0.0)
    assert peers.cached("0", 0.0) is None
    assert peers.cached(str(MAX_NAMES), 0.0) == THREE
    for n in range(MAX_DEAD + 10):
        peers.report_dead(f"10.1.0.1:{n}", 0.0)
    assert peers.ordered(NAME, ["10.1.0.1:0"], 0.0) == ["10.1.0.1:0"]


def test_unknown_order_is_refused() -> None:
    with pytest.raises(ValueError, match="order is"):
        new_peers("first")  # type: ignore[arg-type]
