"""What a row of the gauntlet is, and what came of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

Figure = int | float | str


@attrs.frozen
class Run:
    """How the gauntlet is run: ``say`` takes a word on how far a row has come."""

    short: bool
    say: Callable[[str], None]

    def size(self, full: int, short: int) -> int:
        """One of two sizes."""
        return short if self.short else full


@attrs.frozen
class Finding:
    """What a row found: its figures, and which of its goals were missed."""

    figures: Mapping[str, Figure]
    misses: tuple[str, ...] = ()


@attrs.frozen
class Row:
    """One row. ``alone``: its figures are times, nothing else may run beside it; ``full_only``: not in a short run."""

    name: str
    what: str
    goal: str
    measure: Callable[[Run], Finding]
    alone: bool = False
    full_only: bool = False


@attrs.frozen
class Record:
    """A row's result. ``seconds`` is how long the row took."""

    name: str
    what: str
    goal: str
    figures: Mapping[str, Figure]
    misses: tuple[str, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether every goal was reached."""
        return not self.misses


def judge(figures: Mapping[str, Figure], goals: Mapping[str, bool]) -> Finding:
    """A finding, from figures and from whether each goal was reached."""
    return Finding(figures, tuple(goal for goal, reached in goals.items() if not reached))


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all stays within; infinity of none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else float("inf")


def ms(seconds: float) -> float:
    """Milliseconds, to two places."""
    return round(seconds * 1000, 2)
