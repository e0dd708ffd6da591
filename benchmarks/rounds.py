"""Measures the figures of a group round by round, and judges them by the rounds that no other work disturbed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import attrs

from benchmarks.figures import (
    IN_MEMORY,
    OURS,
    BenchmarkError,
    Cost,
    Figure,
    Result,
    Sample,
    Verdict,
    failed,
    judge,
    not_judged,
    skipped,
)
from benchmarks.load import Load, busiest, watch
from benchmarks.run import Group, Run
from benchmarks.tools import reason_missing
from gauntlet.client import ClientError

# Rounds that other work disturbed are repeated, so many of a group.
MORE_ROUNDS = 2


@attrs.frozen
class Round:
    """Holds the samples of a round, and the work of others meanwhile."""

    samples: Sequence[Sample]
    load: Load

    def values(self, measure: str, side: str) -> list[float]:
        """Returns one side's values of one measure, in order."""
        return [sample.value for sample in self.samples if (sample.measure, sample.side) == (measure, side)]

    def costs(self, measure: str, side: str) -> list[Cost]:
        """Returns one side's costs of one measure, as far as they were measured."""
        return [s.cost for s in self.samples if (s.measure, s.side) == (measure, side) and s.cost is not None]


def say(text: str) -> None:
    """Writes a line of progress to stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def measured(
    group: Group, figures: Sequence[Figure], run: Run, watched: Callable[[], Callable[[], Load]] = watch
) -> list[Result]:
    """Measures some of a group's figures in all rounds, and returns their results, those of each build together.

    ``watched()`` begins to watch the machine, and returns what tells the work of others since then.
    """
    builds = list(run.builds) or [OURS]
    cases = [(figure, side) for side in builds for figure in figures if side == builds[0] or figure.peer != IN_MEMORY]
    for tool in group.tools:
        if (missing := reason_missing(tool)) is not None:
            return [skipped(figure, missing, side) for figure, side in cases]
    peers = dict.fromkeys(figure.peer for figure in figures)
    reasons = {peer: reason for peer in peers if (reason := reason_missing(peer)) is not None}
    # Without its peer a figure that has no goal is shown; one that has a goal is skipped.
    wanted = [figure for figure in figures if figure.peer not in reasons or figure.at_least is None]
    # With state only the first build is measured, because only that is judged.
    own = builds if any(figure.peer != IN_MEMORY for figure in wanted) else builds[:1]
    sides = [*own, *(peer for peer in peers if peer not in reasons)]
    count = min(run.rounds, group.max_rounds)
    rounds: list[Round] = []
    problem = ""
    if wanted:
        try:
            _measure(group, run, sides, frozenset(figure.measure for figure in wanted), count, rounds, watched)
        except (BenchmarkError, ClientError, OSError) as error:
            problem = f"could not be measured: {error}"
            say(problem)
    return [
        _result(figure, side, rounds, count, reasons.get(figure.peer, ""), problem)
        if figure in wanted
        else skipped(figure, reasons[figure.peer], side)
        for figure, side in cases
    ]


def _measure(
    group: Group,
    run: Run,
    sides: Sequence[str],
    measures: frozenset[str],
    count: int,
    rounds: list[Round],
    watched: Callable[[], Callable[[], Load]],
) -> None:
    """Appends to ``rounds`` until so many were quiet, or MORE_ROUNDS more than that were measured."""
    while _is_missing_some(rounds, count):
        again = " (again, as others were disturbed)" if len(rounds) >= count else ""
        say(f"round {len(rounds) + 1} of {count}{again}: {', '.join(sorted(measures))}")
        # No side is always the first: a machine that becomes slower or faster meanwhile is fair to all.
        order = list(sides) if len(rounds) % 2 == 0 else list(reversed(sides))
        samples: list[Sample] = []
        load = watched()
        try:
            for sample in group.measure(run, order, measures):
                samples.append(sample)
                say(f"    {sample.side} {sample.measure}: {sample.value:,.6g}")
        finally:
            rounds.append(Round(samples, load()))
        if rounds[-1].load.is_too_much:
            say(f"    disturbed: {rounds[-1].load}")


def _is_missing_some(rounds: Sequence[Round], count: int) -> bool:
    """Returns True if another round is wanted. A machine that was busy all the time will be so during more rounds."""
    quiet = sum(not each.load.is_too_much for each in rounds)
    is_worth_it = count == 1 or quiet > 0
    return len(rounds) < count or (quiet < count and is_worth_it and len(rounds) < count + MORE_ROUNDS)


def _result(figure: Figure, side: str, rounds: Sequence[Round], count: int, missing: str, problem: str) -> Result:
    """Judges a figure of a build by the quiet rounds; without enough of them it has all rounds and no verdict."""
    quiet = [each for each in rounds if not each.load.is_too_much]
    used = quiet if len(quiet) >= count else rounds

    def values(side: str) -> list[float]:
        return [value for each in used for value in each.values(figure.measure, side)]

    def cost(side: str) -> Cost | None:
        return Cost.median_of([cost for each in used for cost in each.costs(figure.measure, side)])

    ours, peer = values(side), values(figure.peer)
    if problem and not (ours and peer):
        return failed(figure, problem, side)
    result = attrs.evolve(judge(figure, ours, peer, side), cost=cost(side), peer_cost=cost(figure.peer))
    if problem:
        return attrs.evolve(result, verdict=Verdict.FAILED, reason=problem)
    if missing:
        return attrs.evolve(result, reason=missing)
    if len(quiet) < count:
        disturbed = len(rounds) - len(quiet)
        worst = busiest(each.load for each in rounds)
        return not_judged(result, f"not judged: {disturbed} of {len(rounds)} rounds were disturbed; {worst}")
    return result
