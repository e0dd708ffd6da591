"""benchmarks.rounds: whom a round asks and in which order, and which rounds are judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from benchmarks.builds import HERE
from benchmarks.figures import (
    COMPILED,
    IN_MEMORY,
    OURS,
    REFERENCE,
    BenchmarkError,
    Cost,
    Figure,
    Sample,
    Spread,
    Verdict,
)
from benchmarks.load import Load
from benchmarks.rounds import MORE_ROUNDS, measured
from benchmarks.run import Group, Run

RATE = Figure("rate", "requests", "rate", "requests/s", at_least=1.5, aim=2.0, compiled_at_least=3.0)
SHOWN = Figure("shown", "memory", "shown", "MB")
STATE = Figure("state", "requests", "rate", "requests/s", IN_MEMORY, at_least=0.9)
RUN = Run(2, 1.0, 1.0, lambda word: None)
QUIET, BUSY = Load(0.02), Load(0.3, 0.0, ((7, "pytest", 0.28),))


@pytest.fixture(autouse=True)
def nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.rounds.reason_missing", lambda tool: None)


def loads(*values: Load) -> Callable[[], Callable[[], Load]]:
    """Returns a watch that tells these loads, one a round, and QUIET after them."""
    told = iter(values)
    return lambda: lambda: next(told, QUIET)


def counting(asked: list[list[str]], *rates: float) -> Callable[[Run, Sequence[str], frozenset[str]], Iterator[Sample]]:
    """Returns a measurement whose n-th round has the n-th rate for each side of ours, and 10 for any peer."""

    def measure(run: Run, sides: Sequence[str], measures: frozenset[str]) -> Iterator[Sample]:
        asked.append(list(sides))
        for side in sides:
            rate = rates[len(asked) - 1] if side in (OURS, COMPILED) else 10.0
            yield Sample("rate", side, rate, Cost(rate, 1.0, rate))

    return measure


def test_rounds_alternate_which_side_is_the_first() -> None:
    asked: list[list[str]] = []
    (result,) = measured(Group((RATE,), counting(asked, 15.0, 20.0)), [RATE], RUN, loads())
    assert asked == [[OURS, REFERENCE], [REFERENCE, OURS]]
    assert result.ratio == Spread(1.75, 1.5, 2.0, 2)
    assert result.cost == Cost(17.5, 1.0, 17.5)
    assert result.peer_cost == Cost(10.0, 1.0, 10.0)
    assert result.verdict is Verdict.PASS


def test_disturbed_round_is_measured_again_and_not_judged() -> None:
    asked: list[list[str]] = []
    (result,) = measured(Group((RATE,), counting(asked, 15.0, 1.0, 20.0)), [RATE], RUN, loads(QUIET, BUSY))
    assert len(asked) == 3
    assert result.ratio == Spread(1.75, 1.5, 2.0, 2)
    assert result.verdict is Verdict.PASS


def test_machine_that_is_busy_throughout_gets_figures_and_no_verdict() -> None:
    asked: list[list[str]] = []
    rate, shown = measured(Group((RATE, SHOWN), counting(asked, 15.0, 20.0)), [RATE, SHOWN], RUN, loads(BUSY, BUSY))
    assert len(asked) == 2
    assert rate.verdict is Verdict.NOT_JUDGED
    assert rate.ratio == Spread(1.75, 1.5, 2.0, 2)
    assert rate.reason == (
        "not judged: 2 of 2 rounds were disturbed; other work took 30% of the machine: pytest (7) 28%"
    )
    assert shown.verdict is Verdict.FAILED, "nothing measured it, which other work does not excuse"


def test_rounds_are_repeated_a_few_times_at_most() -> None:
    asked: list[list[str]] = []
    group = Group((RATE,), counting(asked, *[16.0] * 9))
    (result,) = measured(group, [RATE], RUN, loads(QUIET, *[BUSY] * 8))
    assert len(asked) == 2 + MORE_ROUNDS
    assert result.verdict is Verdict.NOT_JUDGED


def test_both_builds_are_measured_in_one_round_and_judged_by_their_own_goals() -> None:
    asked: list[list[str]] = []
    run = Run(2, 1.0, 1.0, lambda word: None, {OURS: HERE, COMPILED: HERE})
    results = measured(Group((RATE,), counting(asked, 20.0, 20.0)), [RATE], run, loads())
    assert asked == [[OURS, COMPILED, REFERENCE], [REFERENCE, COMPILED, OURS]]
    assert [(result.side, result.verdict) for result in results] == [(OURS, Verdict.AIM), (COMPILED, Verdict.AIM)]
    asked.clear()
    results = measured(Group((STATE,), counting(asked, 20.0, 20.0)), [STATE], run, loads())
    assert asked[0] == [OURS, IN_MEMORY]
    assert [result.side for result in results] == [OURS]


def test_measured_skips_without_a_tool_and_fails_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(run: Run, sides: object, measures: frozenset[str]) -> list[Sample]:
        raise BenchmarkError("it ended with 1")

    reasons = {"wrk": "wrk is missing"}
    monkeypatch.setattr("benchmarks.rounds.reason_missing", reasons.get)
    (result,) = measured(Group((RATE,), measure, tools=("wrk",)), [RATE], RUN, loads())
    assert (result.verdict, result.reason) == (Verdict.SKIPPED, "wrk is missing")
    (result,) = measured(Group((RATE,), measure), [RATE], RUN, loads())
    assert (result.verdict, result.reason) == (Verdict.FAILED, "could not be measured: it ended with 1")


def test_measured_skips_a_figure_without_its_peer_unless_it_has_no_goal(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(run: Run, sides: object, measures: frozenset[str]) -> list[Sample]:
        assert sides == [OURS]
        return [Sample("shown", OURS, 1.0)]

    monkeypatch.setattr("benchmarks.rounds.reason_missing", {REFERENCE: "no npm"}.get)
    rate, shown = measured(Group((RATE, SHOWN), measure), [RATE, SHOWN], RUN, loads())
    assert (rate.verdict, rate.reason) == (Verdict.SKIPPED, "no npm")
    assert (shown.verdict, shown.reason) == (Verdict.SHOWN, "no npm")
    assert shown.ours is not None
