"""State seconds: how long ago a heartbeat was, by the clock since boot or the wall clock, and its text."""

from __future__ import annotations

import pytest

from grape.state.clock import Heartbeat, Moment

THEN = Heartbeat(100.0, Moment(5_000.0, "boot", 50.0))


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        (Moment(0.0, "boot", 60.0), 110.0),
        (Moment(5_007.0, "other", 1.0), 107.0),
        (Moment(4_000.0, "other", 1.0), 100.0),
        (Moment(5_001.0, "", 0.0), 101.0),
    ],
    ids=["the same boot", "another boot", "another boot, the wall clock set back", "no clock since boot"],
)
def test_heartbeat_tells_the_state_seconds_at_a_later_moment(moment: Moment, seconds: float) -> None:
    assert THEN.seconds_at(moment) == seconds


def test_heartbeat_is_read_from_its_text() -> None:
    assert Heartbeat.from_text(THEN.to_text()) == THEN


@pytest.mark.parametrize("text", [None, "", "[]", "[1, 2]", '["a", 1, "b", 2]', b"\xff"])
def test_heartbeat_is_none_for_other_text(text: object) -> None:
    assert Heartbeat.from_text(text) is None


def test_moment_reads_clocks_that_do_not_run_backwards() -> None:
    first = Moment.now()
    assert Moment.now().seconds_since(first) >= 0.0
