"""Declares figures, measurements and results, and judges them against their goals. Does no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from statistics import median

import attrs

OURS = "grape"
REFERENCE = "grenache-grape"
LIBTORRENT = "libtorrent"
# Our grape with --state :memory:, as a peer.
IN_MEMORY = "in memory"


class BenchmarkError(Exception):
    """Raised when a figure cannot be measured."""


@attrs.frozen
class Figure:
    """Declares one line of the table: a measure of ours beside the same measure of a peer.

    The ratio is ours / peer. ``at_least`` is the goal and ``aim`` a better one; where less is better, the ratio must
    not exceed them. A figure without ``at_least`` is shown and not judged.
    """

    name: str
    what: str
    measure: str
    unit: str
    peer: str = REFERENCE
    less_is_better: bool = False
    at_least: float | None = None
    aim: float | None = None


@attrs.frozen
class Sample:
    """Holds one value of one side: ours or a peer."""

    measure: str
    side: str
    value: float


@attrs.frozen
class Run:
    """Holds how the benchmarks are run.

    ``seconds`` is the length of one measurement, ``idle_seconds`` of the one of idle grapes; ``say(text)`` shows the
    progress.
    """

    rounds: int
    seconds: float
    idle_seconds: float
    say: Callable[[str], None]

    @property
    def warm_seconds(self) -> float:
        """How long a load runs, in seconds, before it is measured."""
        return self.seconds / 3


@attrs.frozen
class Group:
    """Declares figures that are measured together, and the ``tools`` that all of them need.

    ``measure(run, sides, measures)`` runs one round, the sides in turn, and yields a sample for each measure and side.
    """

    figures: Sequence[Figure]
    measure: Callable[[Run, Sequence[str], frozenset[str]], Iterable[Sample]]
    tools: Sequence[str] = ()
    max_rounds: int = 1_000


@attrs.frozen
class Spread:
    """Summarises several values."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarises these values, of which there must be one at least."""
        return cls(median(values), min(values), max(values), len(values))


class Verdict(Enum):
    """Names the outcomes of a figure, as the table shows them."""

    AIM = "aim"
    PASS = "pass"
    MISSED = "MISSED"
    SHOWN = ""
    SKIPPED = "skipped"
    FAILED = "FAILED"


@attrs.frozen
class Result:
    """Holds the outcome of a figure. ``ratio`` summarises ours / peer of each round."""

    figure: Figure
    ours: Spread | None
    peer: Spread | None
    ratio: Spread | None
    verdict: Verdict
    reason: str = ""


def judge(figure: Figure, ours: Sequence[float], peer: Sequence[float]) -> Result:
    """Judges a figure by both sides' values, in the order of the rounds."""
    own = Spread.of(ours) if ours else None
    other = Spread.of(peer) if peer else None
    if own is None:
        return Result(figure, own, other, None, Verdict.FAILED, "nothing was measured")
    if other is None:
        verdict = Verdict.SHOWN if figure.at_least is None else Verdict.FAILED
        return Result(figure, own, other, None, verdict, "" if verdict is Verdict.SHOWN else "the peer has no value")
    ratios = [mine / theirs for mine, theirs in zip(ours, peer, strict=False) if theirs > 0]
    if not ratios:
        return Result(figure, own, other, None, Verdict.FAILED, "the peer's values are 0")
    ratio = Spread.of(ratios)
    return Result(figure, own, other, ratio, _verdict(figure, ratio.median))


def _verdict(figure: Figure, ratio: float) -> Verdict:
    if figure.at_least is None:
        return Verdict.SHOWN

    def reached(goal: float) -> bool:
        return ratio <= goal if figure.less_is_better else ratio >= goal

    if figure.aim is not None and reached(figure.aim):
        return Verdict.AIM
    return Verdict.PASS if reached(figure.at_least) else Verdict.MISSED


def skipped(figure: Figure, reason: str) -> Result:
    """Returns the outcome of a figure whose peer or tool is missing."""
    return Result(figure, None, None, None, Verdict.SKIPPED, reason)


def failed(figure: Figure, reason: str) -> Result:
    """Returns the outcome of a figure that could not be measured."""
    return Result(figure, None, None, None, Verdict.FAILED, reason)


def exit_status(results: Iterable[Result]) -> int:
    """Returns 0 if all goals are reached, 1 if one is missed or not measured, 3 if some are skipped and none missed."""
    verdicts = {result.verdict for result in results}
    if verdicts & {Verdict.MISSED, Verdict.FAILED}:
        return 1
    return 3 if Verdict.SKIPPED in verdicts else 0


def values_of(samples: Iterable[Sample], measure: str, side: str) -> list[float]:
    """Returns one side's values of one measure, in order."""
    return [sample.value for sample in samples if sample.measure == measure and sample.side == side]


def percentile(values: Sequence[float], share: float) -> float:
    """Returns the value that a share (0 to 1) of all values does not exceed. Raises ValueError if there are none."""
    if not values:
        raise ValueError("there are no values")
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
