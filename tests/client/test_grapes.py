"""grape.client.grapes: the order of preference, and how long a grape that failed is left alone."""

from __future__ import annotations

import random

import pytest

from grape.client.grapes import FIRST_PAUSE_SECONDS, JITTER, MAX_PAUSE_SECONDS, Grapes

A, B = "http://10.0.0.1:30001", "http://10.0.0.2:30001"


def new_grapes(*urls: str) -> Grapes:
    return Grapes(urls, random.Random(1))


def pause(grapes: Grapes, now: float) -> float:
    """Returns how long the first grape is left alone from now on, to a hundredth of a second."""
    return next(n / 100 for n in range(10_000) if grapes.choose(now + n / 100, False) == A)


def test_grapes_are_urls_without_a_slash_at_the_end_each_once() -> None:
    assert Grapes("https://grape.example/", random.Random(1)).urls == ["https://grape.example"]
    assert new_grapes(A, f"{A}/", B).urls == [A, B]


@pytest.mark.parametrize("url", ["", "10.0.0.1:30001", "ftp://10.0.0.1", "http://", "http://a:99999", "http://a?b"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="a grape is named by a URL"):
        new_grapes(url)


def test_no_grapes_are_refused() -> None:
    with pytest.raises(ValueError, match="needs the URL"):
        new_grapes()
    with pytest.raises(ValueError, match="announce_through"):
        Grapes(A, random.Random(1), own=[])


def test_grape_that_fails_again_is_left_alone_longer_each_time() -> None:
    grapes, now = new_grapes(A, B), 100.0
    for n in range(9):
        grapes.failed(A, now)
        expected = min(FIRST_PAUSE_SECONDS * 2**n, MAX_PAUSE_SECONDS)
        # Calls that fail together are one failure.
        grapes.failed(A, now)
        waited = pause(grapes, now)
        assert expected * (1 - JITTER) <= waited <= expected * (1 + JITTER) + 0.01
        now += waited
    grapes.succeeded(A)
    grapes.failed(A, now)
    assert pause(grapes, now) < 1.3


def test_one_is_asked_also_while_all_are_left_alone() -> None:
    grapes = new_grapes(A, B)
    grapes.failed(A, 0.0)
    grapes.succeeded(B)
    grapes.failed(B, -0.6)
    assert grapes.choose(0.1, False) == B
    assert grapes.choose(0.1, False, {B}) == A
    assert grapes.choose(0.1, False, {A, B}) is None


def test_own_grapes_are_those_of_the_first_host_unless_they_are_named() -> None:
    here = ["http://127.0.0.1:1", "http://localhost:2", "http://[::1]:3"]
    assert new_grapes(here[0], A, *here[1:]).own == here
    named = Grapes([A, B], random.Random(1), own=[f"{B}/"])
    assert (named.own, named.choose(0.0, True), named.all) == ([B], B, [A, B])
