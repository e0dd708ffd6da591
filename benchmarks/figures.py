"""What is measured, what came of it, and how it is judged. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from statistics import median

import attrs

OURS = "grape"
REFERENCE = "grenache-grape"
LIBTORRENT = "libtorrent"
# Ours, with --state :memory:
IN_MEMORY = "in memory"


class BenchmarkError(Exception):
    """A figure could not be measured."""


@attrs.frozen
class Figure:
    """One line of the table: ``measure`` is what both sides are asked for, ``peer`` the other side.

    The ratio is ours / peer; where less is better, ``at_least`` and ``aim`` are what it must not exceed. A figure
    without ``at_least`` is shown and not judged.
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
    """One value of one side."""

    measure: str
    side: str
    value: float


@attrs.frozen
class Run:
    """How the benchmarks are run: ``seconds`` is one measurement's, ``say`` takes a word on how far it is."""

    rounds: int
    seconds: float
    idle_seconds: float
    say: Callable[[str], None]

    @property
    def warm_seconds(self) -> float:
        """How long a load runs before it counts."""
        return self.seconds / 3


@attrs.frozen
class Group:
    """Figures that are measured together. ``tools`` are needed by all of them.

    ``measure(run, sides, measures)`` runs one round, the sides in turn, and yields what it finds.
    """

    figures: Sequence[Figure]
    measure: Callable[[Run, Sequence[str], frozenset[str]], Iterable[Sample]]
    tools: Sequence[str] = ()
    max_rounds: int = 1_000


@attrs.frozen
class Spread:
    """Several values of one thing."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(median(values), min(values), max(values), len(values))


class Verdict(Enum):
    """What came of a figure."""

    AIM = "aim"
    PASS = "pass"
    MISSED = "MISSED"
    SHOWN = ""
    SKIPPED = "skipped"
    FAILED = "FAILED"


@attrs.frozen
class Result:
    """A figure's outcome. ``ratio`` is over the rounds: ours against the peer's value of the same round."""

    figure: Figure
    ours: Spread | None
    peer: Spread | None
    ratio: Spread | None
    verdict: Verdict
    reason: str = ""


def judge(figure: Figure, ours: Sequence[float], peer: Sequence[float]) -> Result:
    """The outcome of a figure from both sides' values, in the order of the rounds."""
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
    """The outcome of a figure whose peer or tool is missing."""
    return Result(figure, None, None, None, Verdict.SKIPPED, reason)


def failed(figure: Figure, reason: str) -> Result:
    """The outcome of a figure that could not be measured."""
    return Result(figure, None, None, None, Verdict.FAILED, reason)


def exit_status(results: Iterable[Result]) -> int:
    """0: all goals reached; 1: one was missed or could not be measured; 3: none missed, but some were skipped."""
    verdicts = {result.verdict for result in results}
    if verdicts & {Verdict.MISSED, Verdict.FAILED}:
        return 1
    return 3 if Verdict.SKIPPED in verdicts else 0


def values_of(samples: Iterable[Sample], measure: str, side: str) -> list[float]:
    """One side's values of one measure, in order."""
    return [sample.value for sample in samples if sample.measure == measure and sample.side == side]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all stays within. Raises ValueError if there is none."""
    if not values:
        raise ValueError("there are no values")
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
