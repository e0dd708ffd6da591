"""Tests the three kinds of link with our grapes and reference grapes, and while one of them dies or restarts."""

from __future__ import annotations

import signal
from collections.abc import Callable
from itertools import product

import pytest

from grape.client import NotSupportedError, new_private_key, public_key
from tests.client.styles import Opened, Waiting, in_thread
from tests.live.conftest import StartGrape, StartPublished, StartReference, StartRing
from tests.live.items import new_name
from tests.live.processes import HOST, Api, GrapeProcess, new_api, until

PAIRS = 1_000
KILLED_AT = 300
CALLS = 1_000
# With a dead grape in its ring a reference grape takes 2.5 s for each call.
SLOW_ROUNDS = 4
RINGS = ("ours", "reference", "mixed")

Ring = list[GrapeProcess]


@pytest.fixture(params=RINGS)
def two(request: pytest.FixtureRequest, grape_ring: StartRing, reference_grapes: StartReference) -> list[Api]:
    """Two grapes of one ring."""
    if request.param == "reference":
        return reference_grapes(2, [])
    ours = [grape.api for grape in grape_ring(2 if request.param == "ours" else 1)]
    return ours if request.param == "ours" else [*ours, *reference_grapes(1, [ours[0].node])]


@in_thread
def test_pairs_of_announce_and_lookup(open_link: Opened, two: list[Api]) -> None:
    near, far = open_link(two[0].url), open_link(two[1].url)
    for number in range(PAIRS):
        name, port = new_name(), 1_024 + number
        assert near.announce(name, port) >= 1
        assert far.lookup(name) == [f"{HOST}:{port}"]
        near, far = far, near


@in_thread
def test_mutable_and_salted_items_both_ways(open_link: Opened, two: list[Api]) -> None:
    links = [open_link(api.url) for api in two]
    salts: tuple[str | bytes | None, ...] = (None, "salt ✓", b"\xff\x00", '["a"]')
    for (near, far), salt in product((links, links[::-1]), salts):
        key = new_private_key()
        for value in ("first ✓", "second", 5):
            near.put_mutable(key, value, salt=salt)
            assert far.get_mutable(public_key(key), salt).value == value
        assert far.get_mutable(public_key(key), "another salt") is None


@in_thread
def test_immutable_items_both_ways(open_link: Opened, two: list[Api]) -> None:
    links = [open_link(api.url) for api in two]
    for near, far in (links, reversed(links)):
        for value in (new_name(), 12_345, "12345"):
            assert far.get(near.put(value)).value == value


@in_thread
def test_what_a_reference_grape_does_not_have_is_not_supported(
    open_link: Opened, reference_grapes: StartReference
) -> None:
    link, name = open_link(reference_grapes(2, [])[0].url), new_name()
    for call in (lambda: link.unannounce(name, 1_337), link.status, lambda: link.read("/nodes")):
        with pytest.raises(NotSupportedError):
            call()
    # At its end the announce stays, in silence.
    with link.announcing(name, 1_337, ttl=60):
        pass
    assert link.lookup(name) == [f"{HOST}:1337"]


@pytest.fixture(params=[2, 3])
def ring_with_one_to_kill(request: pytest.FixtureRequest, grape_process: StartGrape, grape_ring: StartRing) -> Ring:
    """Two grapes of a ring of two, whose operator says so, or of three."""
    if request.param == 3:
        return grape_ring(3)
    first, second = new_api(), new_api()
    flags = ("--ready-isolated", "--bn")
    return [grape_process(*flags, second.node, api=first), grape_process(*flags, first.node, api=second)]


@in_thread
def test_no_call_fails_while_one_of_two_grapes_is_killed(open_link: Opened, ring_with_one_to_kill: Ring) -> None:
    killed, left = ring_with_one_to_kill[:2]
    link = open_link([killed.api.url, left.api.url])

    def announce_and_look_up(number: int) -> None:
        name, port = new_name(), 1_024 + number
        assert link.announce(name, port) >= 1
        assert link.lookup(name) == [f"{HOST}:{port}"]

    def put_and_get(number: int) -> None:
        key = new_private_key()
        assert link.get(link.put(f"words {number}")).value == f"words {number}"
        link.put_mutable(key, number)
        assert link.get_mutable(public_key(key)).value == number

    calls: list[Callable[[int], None]] = [announce_and_look_up, put_and_get]
    for number in range(CALLS // 2):
        if number == KILLED_AT:
            killed.end(signal.SIGKILL)
        calls[number % 2](number)


@in_thread
def test_no_call_fails_while_one_of_two_reference_grapes_is_killed(
    open_link: Opened, published_grapes: StartPublished
) -> None:
    # Of three: the one that is left of two answers "No nodes to query" to announces and puts.
    killed, left, _ = published_grapes(3, [])
    link = open_link([killed.api.url, left.api.url])
    for number in range(SLOW_ROUNDS):
        if number == SLOW_ROUNDS // 2:
            killed.end(signal.SIGKILL)
        name, port = new_name(), 1_024 + number
        assert link.announce(name, port) >= 1
        assert link.lookup(name) == [f"{HOST}:{port}"]
        assert link.get(link.put(name)).value == name


@in_thread
def test_announces_are_back_after_a_grape_restarted(open_link: Opened, grape_process: StartGrape) -> None:
    grape = grape_process("--state", ":memory:")
    name = new_name()
    link, other = open_link(grape.api.url), open_link(grape.api.url, cache_seconds=0)
    with link.announcing(name, 1_337, interval=1.0):
        assert other.lookup(name) == [f"{HOST}:1337"]
        grape.end(signal.SIGKILL)
        grape_process("--state", ":memory:", api=grape.api)
        until("the announce", lambda: _found(other, name))


def _found(link: Waiting, name: str) -> list[str]:
    found: list[str] = link.lookup(name)
    return found
