"""Tests a hundred grapes on one in-memory network."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from grape import Grape
from grape.testing import MemoryNetwork, make_grapes

SEED = 100


@pytest.fixture(scope="module")
def hundred() -> Iterator[tuple[MemoryNetwork, list[Grape]]]:
    """Starts grapes with a latency of 1 to 40 ms, which join through the first."""
    network = MemoryNetwork(SEED, latency=lambda dice: dice.uniform(0.001, 0.04))
    grapes = make_grapes(network, 100)
    network.clock.advance(30)
    yield network, grapes
    for grape in grapes:
        network.result(grape.stopService())


def test_service_announced_by_any_is_found_by_any(hundred: tuple[MemoryNetwork, list[Grape]]) -> None:
    network, grapes = hundred
    dice = random.Random(SEED)
    for number in range(40):
        announcer = dice.randrange(100)
        address = f"10.0.0.{announcer + 1}:{1_000 + number}"
        accepted = network.result(grapes[announcer].announce(f"service:{number}", 1_000 + number))
        # Those whose tokens come late are written to after the answer.
        assert 15 <= accepted <= 20, f"seed {SEED}, service {number}"
        network.clock.advance(1)
        stored = [grape for grape in grapes if f"service:{number}".encode() in grape.node._peer_store]
        assert len(stored) >= 20, f"seed {SEED}, service {number}"
        for grape in dice.sample(grapes, 10):
            assert network.result(grape.lookup(f"service:{number}")) == [address], f"seed {SEED}, service {number}"


def test_service_announced_by_all_is_found_by_all(hundred: tuple[MemoryNetwork, list[Grape]]) -> None:
    network, grapes = hundred
    for grape in grapes:
        network.result(grape.announce("everywhere", 80))
    everywhere = {f"10.0.0.{n}:80" for n in range(1, 101)}
    for grape in grapes:
        found = network.result(grape.lookup("everywhere"))
        assert set(found) == everywhere


def test_item_is_found_by_all(hundred: tuple[MemoryNetwork, list[Grape]]) -> None:
    network, grapes = hundred
    hash = network.result(grapes[17].put("hello world"))
    for grape in grapes:
        found = network.result(grape.get(hash))
        assert found is not None
        assert found.item.value == b"hello world"


def test_lookup_takes_a_few_round_trips(hundred: tuple[MemoryNetwork, list[Grape]]) -> None:
    network, grapes = hundred
    start = network.clock.seconds()
    for number, grape in enumerate(grapes):
        network.result(grape.lookup(f"unknown:{number}"))
    assert (network.clock.seconds() - start) / 100 < 0.25


def test_service_survives_a_third_of_the_grapes(hundred: tuple[MemoryNetwork, list[Grape]]) -> None:
    network, grapes = hundred
    network.result(grapes[0].announce("survivor", 1))
    for grape in grapes[1::3]:
        network.result(grape.stopService())
    left = [grape for index, grape in enumerate(grapes) if index % 3 != 1]
    for grape in left:
        start = network.clock.seconds()
        assert network.result(grape.lookup("survivor")) == ["10.0.0.1:1"]
        assert network.clock.seconds() - start <= 2.0
    for grape in grapes[1::3]:
        grape.startService()
