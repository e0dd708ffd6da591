"""A network of our grapes and of reference grapes from npm: all find all that any of them took."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.live.conftest import StartReference, StartRing
from tests.live.items import Signer, got, new_name
from tests.live.processes import HOST, Api

ROUNDS = 20


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads, as many as there are grapes."""
    with ThreadPoolExecutor(6) as pool:
        yield pool


def look_up_everywhere(pool: ThreadPoolExecutor, grapes: list[Api]) -> None:
    """Announce one service on each grape; all the others find it."""
    for number, grape in enumerate(grapes):
        name, port = new_name(), 1024 + number
        assert grape.call("announce", [name, port]) >= 1
        found = pool.map(lambda other, name=name: other.call("lookup", name), others(grapes, grape))
        assert list(found) == [[f"{HOST}:{port}"]] * (len(grapes) - 1), f"announced on grape {number}"


def get_immutable_everywhere(pool: ThreadPoolExecutor, grapes: list[Api]) -> None:
    """Put one value on each grape; all the others get it."""
    for number, grape in enumerate(grapes):
        value = new_name()
        target = grape.call("put", {"v": value})
        found = pool.map(lambda other, target=target: got(other, target), others(grapes, grape))
        assert list(found) == [value] * (len(grapes) - 1), f"put on grape {number}"


def get_mutable_everywhere(pool: ThreadPoolExecutor, grapes: list[Api]) -> None:
    """Put one item on each grape, and a newer one; all the others get the newer one. Every other item has a salt."""
    for number, grape in enumerate(grapes):
        signer = Signer(salt="salt ✓" if number % 2 else "")
        for seq in (1, 2):
            value = new_name()
            assert grape.call("put", signer.item(value, seq)) == signer.target
            found = pool.map(lambda other, query=signer.query: got(other, query), others(grapes, grape))
            assert list(found) == [value] * (len(grapes) - 1), f"put on grape {number}, seq {seq}"


def others(grapes: list[Api], one: Api) -> list[Api]:
    return [grape for grape in grapes if grape != one]


def test_all_is_found_in_a_ring_of_three_of_ours_and_three_of_npm(
    pool: ThreadPoolExecutor, grape_ring: StartRing, reference_grapes: StartReference
) -> None:
    ours = [grape.api for grape in grape_ring(3)]
    grapes = ours + reference_grapes(3, [api.node for api in ours])
    for _ in range(ROUNDS):
        look_up_everywhere(pool, grapes)
        get_immutable_everywhere(pool, grapes)
        get_mutable_everywhere(pool, grapes)


def test_all_is_found_in_a_ring_with_the_published_command(
    pool: ThreadPoolExecutor, grape_ring: StartRing, published_grapes: StartReference
) -> None:
    ours = [grape.api for grape in grape_ring(3)]
    grapes = ours + published_grapes(3, [api.node for api in ours])
    for _ in range(ROUNDS):
        look_up_everywhere(pool, grapes)
        get_immutable_everywhere(pool, grapes)


def test_our_grapes_join_a_network_of_reference_grapes(
    pool: ThreadPoolExecutor, grape_ring: StartRing, reference_grapes: StartReference
) -> None:
    grapes = reference_grapes(3, [])
    grapes += [grape.api for grape in grape_ring(1, *(api.node for api in grapes))]
    look_up_everywhere(pool, grapes)
    get_immutable_everywhere(pool, grapes)
    get_mutable_everywhere(pool, grapes)
