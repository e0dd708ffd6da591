"""grape.node.readiness: what a grape lacks, in words and sentences."""

from __future__ import annotations

from typing import Any

import pytest

from grape.node import readiness
from grape.node.readiness import Readiness

WELL: dict[str, Any] = {
    "is_running": True,
    "is_stopping": False,
    "is_joining": False,
    "is_isolated": False,
    "may_be_isolated": False,
    "contacts": 2,
    "bootstrap_nodes": 2,
    "has_state_file": True,
    "degraded": None,
}


def assess(**differences: Any) -> Readiness:
    return readiness.assess(**{**WELL, **differences})


@pytest.mark.parametrize(
    ("differences", "status", "ready", "strictly"),
    [
        ({}, "ready", True, True),
        ({"is_stopping": True}, "stopping", False, False),
        ({"is_running": False}, "stopping", False, False),
        ({"is_isolated": True, "is_joining": True, "contacts": 0}, "joining", False, False),
        ({"is_joining": True}, "ready", True, True),
        ({"is_isolated": True}, "isolated", False, False),
        ({"is_isolated": True, "may_be_isolated": True}, "isolated", True, True),
        ({"is_isolated": True, "is_joining": True, "may_be_isolated": True}, "joining", False, False),
        ({"is_isolated": True, "bootstrap_nodes": 0}, "ready", True, True),
        ({"degraded": "disk full"}, "degraded", True, False),
        ({"degraded": "disk full", "is_isolated": True, "may_be_isolated": True}, "isolated", True, False),
        ({"degraded": "disk full", "is_stopping": True}, "stopping", False, False),
        ({"has_state_file": False}, "ready", True, True),
    ],
)
def test_readiness_depends_on_circumstances(
    differences: dict[str, Any], status: str, ready: bool, strictly: bool
) -> None:
    found = assess(**differences)
    assert (found.status, found.is_ready, found.is_strictly_ready) == (status, ready, strictly)


def test_readiness_names_all_problems_the_gravest_first() -> None:
    assert assess().problems == ()
    assert assess(is_stopping=True, is_isolated=True, degraded="full").problems == ("stopping", "isolated", "degraded")


@pytest.mark.parametrize(
    ("differences", "text"),
    [
        ({}, "2 contacts, at least one of which answers"),
        ({"bootstrap_nodes": 0, "contacts": 0}, "alone; it was given no other nodes to join, so it may be alone"),
        ({"bootstrap_nodes": 0, "contacts": 1}, "1 contact; it was given no other nodes to join, so it may be alone"),
        ({"is_isolated": True}, "none of 2 contacts answers; 2 bootstrap nodes asked again and again"),
        (
            {"is_isolated": True, "contacts": 0, "bootstrap_nodes": 1},
            "there are no contacts; 1 bootstrap node asked again and again",
        ),
        (
            {"is_isolated": True, "is_joining": True},
            "it joins the network: 2 bootstrap nodes asked, none has answered yet",
        ),
    ],
)
def test_readiness_explains_the_network(differences: dict[str, Any], text: str) -> None:
    assert assess(**differences).checks[1].text == text


@pytest.mark.parametrize(
    ("differences", "text"),
    [
        ({}, "state is written to its file"),
        ({"has_state_file": False}, "no state is kept"),
        ({"degraded": "disk full"}, "state is not on the disk: disk full"),
    ],
)
def test_readiness_explains_the_state_file(differences: dict[str, Any], text: str) -> None:
    assert assess(**differences).checks[2].text == text


def test_readiness_explains_the_process() -> None:
    texts = [assess(**given).checks[0].text for given in ({}, {"is_stopping": True}, {"is_running": False})]
    assert texts == ["the grape runs", "the grape is about to stop", "the grape does not run"]
