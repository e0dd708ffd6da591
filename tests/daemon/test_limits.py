"""grape.daemon.limits: descriptors and connections of a process."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from grape.daemon.limits import (
    MAX_SELECT_DESCRIPTORS,
    connection_limit,
    raise_descriptor_limit,
)


class SelectReactor:
    """Stands for Twisted's reactor of this name."""


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    """Returns the limits of this process, and sets them again afterwards."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield soft, hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("wanted", "descriptors", "limit"),
    [
        (512, 1_024, 512),
        (512, 576, 512),
        (512, 575, 511),
        (512, 256, 192),
        (512, 128, 64),
        (512, 64, 32),
        (512, 1, 1),
        (10, 256, 10),
        (100_000, resource.RLIM_INFINITY, 100_000),
    ],
)
def test_connection_limit_leaves_descriptors_for_the_rest(wanted: int, descriptors: int, limit: int) -> None:
    assert connection_limit(wanted, descriptors) == limit


def test_descriptor_limit_is_raised_to_the_hard_one(limits: tuple[int, int]) -> None:
    hard = limits[1]
    lower = 256 if hard == resource.RLIM_INFINITY else min(hard, 256)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lower, hard))
    assert raise_descriptor_limit(object()) == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if hard != resource.RLIM_INFINITY:
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)


def test_select_reactor_uses_fewer_descriptors(limits: tuple[int, int]) -> None:
    assert raise_descriptor_limit(SelectReactor()) <= MAX_SELECT_DESCRIPTORS


def test_refused_limit_stays(limits: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(which: int, limits: tuple[int, int]) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert raise_descriptor_limit(object()) == 256
