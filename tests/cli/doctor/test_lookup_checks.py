"""grape.cli.doctor.lookup_checks: why a lookup is empty."""

from __future__ import annotations

from typing import Any

import pytest

from grape.cli.doctor.facts import Lookup, SelfTest, Step
from grape.cli.doctor.findings import Finding
from grape.cli.doctor.lookup_checks import check_lookup, check_self_test
from tests.cli.doctor.examined import OTHER_URL, SECOND, THIRD, URL, well

HOLDERS = Step(SECOND, True), Step(THIRD, True)


def judged(changes: dict[str, Any] | None = None, name: str = "rest:net:util", **facts: Any) -> Finding:
    """Returns the finding about a lookup, whose holders have answered unless facts say otherwise."""
    lookup = Lookup(name, **{"steps": HOLDERS, **facts})
    (finding,) = check_lookup(well(lookup=lookup, self_test=None, **(changes or {})))
    assert finding.name == f"lookup of {name}"
    return finding


def test_lookup_that_finds_peers_is_well() -> None:
    assert judged(peers=("10.0.0.2:1",)).found == "1 peer: 10.0.0.2:1"
    assert judged(peers=("10.0.0.2:1", "127.0.0.1:1")).state == "ok"


def test_peers_at_loopback_addresses_alone_are_a_warning() -> None:
    finding = judged(peers=("127.0.0.1:1",))
    assert (finding.state, "--advertise" in finding.advice) == ("warning", True)


def test_lookup_that_fails_says_why() -> None:
    assert judged(error="ERR_GRAPE_OVERLOADED").found == "it fails: ERR_GRAPE_OVERLOADED"


def test_lookup_of_an_isolated_grape_is_explained() -> None:
    assert judged({"told_problems": {"isolated": "..."}}).found == "it finds nothing, as the grape is isolated"


def test_lookup_that_other_grapes_answer_shows_that_rings_are_apart() -> None:
    finding = judged(elsewhere={OTHER_URL: ("10.0.0.2:1",)})
    assert f"it finds nothing here, though {OTHER_URL} finds peers" in finding.found


def test_silent_holders_explain_an_empty_lookup() -> None:
    silent = Step(SECOND, False), Step(THIRD, False)
    assert judged(steps=silent).found == "none of 2 nodes asked has answered"
    finding = judged(steps=(Step(SECOND, True), Step(THIRD, False)))
    assert "(1 of 2 nodes asked have answered)" in finding.found
    assert finding.advice.endswith(f"Or they alone had it that did not answer: {THIRD}.")


@pytest.mark.parametrize("near", ["rest:net:utils", "Rest:Net:Util", "rest:net:util ", "rest:net:utl"])
def test_name_that_is_nearly_the_same_is_suggested(near: str) -> None:
    finding = judged(names=(near, "something else"))
    assert finding.found == f"nobody announces it, but {near!r} is announced"
    assert finding.advice == "Use the same name for the announce and the lookup, to the letter."


def test_lookup_that_was_stopped_is_told() -> None:
    assert judged(is_complete=False).found.startswith("it was stopped before")


def test_name_that_nobody_announces_is_told_as_such() -> None:
    finding = judged(names=("something else", "rest:net:util"))
    assert finding.found == "nobody has announced it within the last 240 s (2 of 2 nodes asked have answered)"
    # A Node grape tells neither its limit nor how a lookup went.
    assert judged({"told_peer_max_age": None}, steps=None).found == "nobody has announced it"


@pytest.mark.parametrize(
    ("test", "state"),
    [
        (SelfTest(2, found_by=(URL,)), "ok"),
        (SelfTest(2, found_by=(URL,), missed_by=(OTHER_URL,)), "failed"),
        (SelfTest(error="No nodes to query"), "failed"),
        (SelfTest(skipped="..."), "skipped"),
        (None, "skipped"),
    ],
)
def test_self_test_is_judged(test: SelfTest | None, state: str) -> None:
    (finding,) = check_self_test(well(self_test=test))
    assert finding.state == state


def test_self_test_is_not_made_beside_a_lookup() -> None:
    assert list(check_self_test(well(self_test=None, lookup=Lookup("a")))) == []
