"""Declares figures and results, and judges them against their goals. Does no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from statistics import median

import attrs

OURS = "grape"
# Our grape, of the build whose hot modules are compiled.
COMPILED = "grape compiled"
# The sides that are ours, by the name of the build.
BUILDS = {"pure": OURS, "compiled": COMPILED}
REFERENCE = "grenache-grape"
LIBTORRENT = "libtorrent"
# Our grape with --state :memory:, as a peer.
IN_MEMORY = "in memory"


# The exit statuses. The greatest trouble decides: 1, then 4, then 3.
STATUSES = {
    0: "every goal is reached",
    1: "a goal is missed, or a figure could not be measured",
    3: "some figures are skipped, all other goals are reached",
    4: "some figures are not judged, because other work took too much of the machine; no goal is missed",
}


class BenchmarkError(Exception):
    """Raised when a figure cannot be measured."""


@attrs.frozen
class Figure:
    """Declares one line of the table: a measure of ours beside the same measure of a peer.

    The ratio is ours / peer. ``at_least`` is the goal and ``aim`` a better one; where less is better, the ratio must
    not exceed them. A figure without ``at_least`` is shown and not judged. ``compiled_at_least`` is the goal of the
    compiled build, where it has another one.
    """

    name: str
    what: str
    measure: str
    unit: str
    peer: str = REFERENCE
    less_is_better: bool = False
    at_least: float | None = None
    aim: float | None = None
    compiled_at_least: float | None = None

    def goal(self, side: str) -> float | None:
        """Returns the goal of a build of ours; None if the figure is shown and not judged."""
        if side == COMPILED and self.compiled_at_least is not None:
            return self.compiled_at_least
        return self.at_least


@attrs.frozen
class Cost:
    """Holds the cost of a request, in microseconds of user and of system time, and the requests answered a second."""

    user: float
    system: float
    rate: float

    @property
    def total(self) -> float:
        """Microseconds of user and system time together."""
        return self.user + self.system

    @classmethod
    def median_of(cls, costs: Sequence[Cost]) -> Cost | None:
        """Returns the median of each figure; None if there are no costs."""
        if not costs:
            return None
        return cls(median(c.user for c in costs), median(c.system for c in costs), median(c.rate for c in costs))


@attrs.frozen
class Sample:
    """Holds one value of one side: ours or a peer. ``cost`` is that of a request to it, where it was measured."""

    measure: str
    side: str
    value: float
    cost: Cost | None = None


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
    NOT_JUDGED = "not judged"


@attrs.frozen
class Result:
    """Holds the outcome of a figure for the build ``side``. ``ratio`` summarises ours / peer of each round."""

    figure: Figure
    ours: Spread | None
    peer: Spread | None
    ratio: Spread | None
    verdict: Verdict
    reason: str = ""
    side: str = OURS
    cost: Cost | None = None
    peer_cost: Cost | None = None


def judge(figure: Figure, ours: Sequence[float], peer: Sequence[float], side: str = OURS) -> Result:
    """Judges a figure of a build by both sides' values, in the order of the rounds."""
    own = Spread.of(ours) if ours else None
    other = Spread.of(peer) if peer else None
    if own is None:
        return Result(figure, own, other, None, Verdict.FAILED, "nothing was measured", side)
    if other is None:
        verdict = Verdict.SHOWN if figure.at_least is None else Verdict.FAILED
        reason = "" if verdict is Verdict.SHOWN else "the peer has no value"
        return Result(figure, own, other, None, verdict, reason, side)
    ratios = [mine / theirs for mine, theirs in zip(ours, peer, strict=False) if theirs > 0]
    if not ratios:
        return Result(figure, own, other, None, Verdict.FAILED, "the peer's values are 0", side)
    ratio = Spread.of(ratios)
    return Result(figure, own, other, ratio, _verdict(figure, ratio.median, figure.goal(side)), side=side)


def _verdict(figure: Figure, ratio: float, at_least: float | None) -> Verdict:
    if at_least is None:
        return Verdict.SHOWN

    def reached(goal: float) -> bool:
        return ratio <= goal if figure.less_is_better else ratio >= goal

    if figure.aim is not None and reached(figure.aim):
        return Verdict.AIM
    return Verdict.PASS if reached(at_least) else Verdict.MISSED


def skipped(figure: Figure, reason: str, side: str = OURS) -> Result:
    """Returns the outcome of a figure whose peer or tool is missing."""
    return Result(figure, None, None, None, Verdict.SKIPPED, reason, side)


def failed(figure: Figure, reason: str, side: str = OURS) -> Result:
    """Returns the outcome of a figure that could not be measured."""
    return Result(figure, None, None, None, Verdict.FAILED, reason, side)


def not_judged(result: Result, reason: str) -> Result:
    """Returns the same figures without a verdict. A result that failed, or that has no goal, stays as it is."""
    if result.verdict in (Verdict.AIM, Verdict.PASS, Verdict.MISSED):
        return attrs.evolve(result, verdict=Verdict.NOT_JUDGED, reason=reason)
    return result


def exit_status(results: Iterable[Result]) -> int:
    """Returns the exit status, which is a key of STATUSES."""
    verdicts = {result.verdict for result in results}
    if verdicts & {Verdict.MISSED, Verdict.FAILED}:
        return 1
    if Verdict.NOT_JUDGED in verdicts:
        return 4
    return 3 if Verdict.SKIPPED in verdicts else 0


def percentile(values: Sequence[float], share: float) -> float:
    """Returns the value that a share (0 to 1) of all values does not exceed. Raises ValueError if there are none."""
    if not values:
        raise ValueError("there are no values")
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
