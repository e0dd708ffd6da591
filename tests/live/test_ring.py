"""Tests networks of our grapes and reference grapes: what is stored through one is found through all."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.live.conftest import StartPublished, StartReference, StartRing
from tests.live.items import Signer, got, new_name
from tests.live.processes import HOST, Api

ROUNDS = 20


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Provides a thread for each grape."""
    with ThreadPoolExecutor(6) as pool:
        yield pool


def look_up_everywhere(pool: ThreadPoolExecutor, grapes: list[Api]) -> None:
    """Announces a service through each grape, and finds it through all others."""
    for number, grape in enumerate(grapes):
        name, port = new_name(), 1024 + number
        assert grape.call("announce", [name, port]) >= 1
        found = pool.map(lambda other, name=name: other.call("lookup", name), others(grapes, grape))
        assert list(found) == [[f"{HOST}:{port}"]] * (len(grapes) - 1), f"announced on grape {number}"


def get_immutable_everywhere(pool: ThreadPoolExecutor, grapes: list[Api]) -> None:
    """Puts a value through each grape, and gets it through all others."""
    for number, grape in enumerate(grapes):
        value = new_name()
        target = grape.call("put", {"v": value})
        found = pool.map(lambda other, target=target: got(other, target), others(grapes, grape))
        assert list(found) == [value] * (len(grapes) - 1), f"put on grape {number}"


def get_mutable_everywhere(pool: ThreadPoolExecutor, grapes: list[Api]) -> None:
    """Puts a mutable item through each grape, twice, and gets it through all others. Every second one has a salt."""
    for number, grape in enumerate(grapes):
        signer = Signer(salt="salt ✓" if number % 2 else "")
        for seq in (1, 2):
            value = new_name()
            assert grape.call("put", signer.item(value, seq)) == signer.target
            found = pool.map(lambda other, query=signer.query: got(other, query), others(grapes, grape))
            assert list(found) == [value] * (len(grapes) - 1), f"put on grape {number}, seq {seq}"


def others(grapes: list[Api], one: Api) -> list[Api]:
    return [grape for grape in grapes if grape != one]


def test_ring_with_reference_grapes_finds_everything(
    pool: ThreadPoolExecutor, grape_ring: StartRing, reference_grapes: StartReference
) -> None:
    ours = [grape.api for grape in grape_ring(3)]
    grapes = ours + reference_grapes(3, [api.node for api in ours])
    for _ in range(ROUNDS):
        look_up_everywhere(pool, grapes)
        get_immutable_everywhere(pool, grapes)
        get_mutable_everywhere(pool, grapes)


def test_ring_with_the_published_command_finds_everything(
    pool: ThreadPoolExecutor, grape_ring: StartRing, published_grapes: StartPublished
) -> None:
    ours = [grape.api for grape in grape_ring(3)]
    grapes = ours + [grape.api for grape in published_grapes(3, [api.node for api in ours])]
    for _ in range(ROUNDS):
        look_up_everywhere(pool, grapes)
        get_immutable_everywhere(pool, grapes)


def test_grapes_join_a_network_of_reference_grapes(
    pool: ThreadPoolExecutor, grape_ring: StartRing, reference_grapes: StartReference
) -> None:
    grapes = reference_grapes(3, [])
    grapes += [grape.api for grape in grape_ring(1, *(api.node for api in grapes))]
    look_up_everywhere(pool, grapes)
    get_immutable_everywhere(pool, grapes)
    get_mutable_everywhere(pool, grapes)
